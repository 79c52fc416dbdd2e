"""Cards of EDVR."""

from dataclasses import dataclass, replace
from typing import Literal

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class EDVRSettings:
    """An EDVR, also those that "Understanding Deformable Alignment in Video Super-Resolution" studies.

    Attributes:
        channels: of the features.
        frames: how many it takes, odd; the middle one is enlarged.
        groups: G, groups of channels with offsets of their own.
        offsets: N, offsets a pixel and group; k*k with an odd k is a k x k kernel.
        modulated: whether what is read is multiplied by learned masks (not in sections 4.1 and 4.2 of the paper).
        alignment: "deformable" convolution; "decomposed" into N warps and a 1x1 convolution, with the same parameters
            and the same result; or "image", where one learned flow warps the frame itself (Table 4).
        flow: network of the zoo whose flow the offsets are residuals to, or "none".
        extract_blocks, reconstruct_blocks: residual blocks before and after alignment.
        tsa: temporal and spatial attention; otherwise a 1x1 convolution fuses the frames.
        predeblur: a pyramid before alignment, for blurred frames.
        hr_in: frames have the size of the result (deblurring); needs predeblur.
    """

    channels: int = 64
    frames: int = 5
    groups: int = 8
    offsets: int = 9
    modulated: bool = True
    alignment: Literal["deformable", "decomposed", "image"] = "deformable"
    flow: str = "none"
    extract_blocks: int = 5
    reconstruct_blocks: int = 10
    tsa: bool = True
    predeblur: bool = False
    hr_in: bool = False


_PAPER = "Wang, Chan, Yu, Dong, Loy: EDVR, CVPR workshops 2019"
_PARTS = {
    "features": "five residual blocks, three levels",
    "align": "deformable, pyramid and cascade (PCD)",
    "fuse": "temporal and spatial attention (TSA)",
    "reconstruct": "residual blocks, two pixel shuffles, plus the bilinear middle frame",
}
_NOTES = "The authors' and mmagic's weights are Apache-2.0. With tsa=false: 2,996,259 and 19,419,875 parameters."

CARDS = (
    Card(
        name="edvr-m",
        summary="EDVR with 64 channels and 10 reconstruction blocks",
        build="flowzoo.models.video.edvr:EDVR",
        settings=EDVRSettings(),
        parameters=3_300_131,
        paper=_PAPER,
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.edvr:convert",
        task="super-resolution",
        notes=_NOTES,
    ),
    Card(
        name="edvr-l",
        summary="EDVR with 128 channels and 40 reconstruction blocks",
        build="flowzoo.models.video.edvr:EDVR",
        settings=replace(EDVRSettings(), channels=128, reconstruct_blocks=40),
        parameters=20_633_827,
        paper=_PAPER,
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.edvr:convert",
        task="super-resolution",
        notes=_NOTES,
    ),
)
