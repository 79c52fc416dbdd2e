"""Card of TDAN."""

from dataclasses import dataclass
from typing import Literal

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class TDANSettings:
    """A TDAN.

    Attributes:
        channels: of the features.
        frames: how many it takes, odd; the middle one is enlarged.
        groups: G, groups of channels with offsets of their own.
        offsets: N, offsets a pixel and group; k*k with an odd k is a k x k kernel.
        alignment: "deformable" convolution, or "decomposed" into N warps and a 1x1 convolution (the same result).
        border: of the deformable convolutions; the authors' own weights were trained with the "legacy" rule.
        extract_blocks, reconstruct_blocks: residual blocks before alignment and after fusion.
    """

    channels: int = 64
    frames: int = 5
    groups: int = 8
    offsets: int = 9
    alignment: Literal["deformable", "decomposed"] = "deformable"
    border: Literal["modern", "legacy"] = "modern"
    extract_blocks: int = 5
    reconstruct_blocks: int = 10


CARDS = (
    Card(
        name="tdan",
        summary="four deformable convolutions align each frame, which is rebuilt as a picture before fusion",
        build="flowzoo.models.video.tdan:TDAN",
        settings=TDANSettings(),
        parameters=1_970_819,
        paper="Tian, Zhang, Fu, Xu: TDAN: Temporally-Deformable Alignment Network for Video Super-Resolution, "
        "CVPR 2020",
        parts={
            "features": "five residual blocks",
            "align": "deformable, four in a row, without masks",
            "fuse": "convolution of the aligned pictures",
            "reconstruct": "ten residual blocks, two pixel shuffles",
        },
        checkpoint="flowzoo.checkpoints.tdan:convert",
        task="super-resolution",
        notes="mmagic's weights (Apache-2.0) use border=modern. The authors' files (border=legacy) are pickled modules "
        "of PyTorch 0.3, which are not read.",
    ),
)
