"""Card of kestrel, the zoo's own compact network for video super-resolution and the default of `superresolve`."""

from dataclasses import dataclass

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class KestrelSettings:
    """What can be changed in kestrel.

    Attributes:
        frames: how many it takes, odd; the middle one is enlarged.
        flow: network of the zoo whose flow, from the middle frame to each other one, alignment starts from.
        channels: of the features that are aligned.
        offsets: N, places read around where the flow points.
        groups: G, groups of channels with offsets of their own.
        reach: largest distance of an offset from the flow, pixels of the small frames.
        width: channels of the reconstruction.
        blocks: residual blocks of the reconstruction.
    """

    frames: int = 5
    flow: str = "wren"
    channels: int = 32
    offsets: int = 5
    groups: int = 2
    reach: float = 3.0
    width: int = 48
    blocks: int = 12


CARDS = (
    Card(
        name="kestrel",
        summary="The zoo's own compact x4 network: wren's flow plus a few learned offsets.",
        build="flowzoo.models.video.kestrel:Kestrel",
        settings=KestrelSettings(),
        parameters=1_518_580,
        default_weights="kestrel",
        paper="none: flowzoo's own; alignment after Chan et al.: Understanding Deformable Alignment in Video "
        "Super-Resolution, AAAI 2021",
        parts={
            "features": "convolution and two residual blocks at the small size",
            "align": "deformable: 5 offsets in 2 groups around wren's flow",
            "fuse": "1x1 convolution of all frames and the flow's fractions",
            "reconstruct": "12 residual blocks, pixel shuffle, plus MATLAB's bicubic of the middle frame",
        },
        task="super-resolution",
    ),
)
