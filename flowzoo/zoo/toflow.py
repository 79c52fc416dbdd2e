"""Card of TOFlow."""

from dataclasses import dataclass
from typing import Literal

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class TOFlowSettings:
    """A TOFlow for super-resolution.

    Attributes:
        order: how the frames are joined: "temporal", or "official": the middle one before all others, which the
            converted official weights want.
    """

    order: Literal["temporal", "official"] = "temporal"


CARDS = (
    Card(
        name="toflow",
        summary="seven enlarged frames, warped to the middle one by a flow trained for the task, refined together",
        build="flowzoo.models.video.toflow:TOFlow",
        settings=TOFlowSettings(),
        parameters=1_405_899,
        paper="Xue, Chen, Wu, Wei, Freeman: Video Enhancement with Task-Oriented Flow, IJCV 2019",
        parts={
            "features": "none: the frames, enlarged bicubically first",
            "align": "image warping by a four-level SPyNet with batch normalisation",
            "fuse": "four convolutions, 9x9, 9x9, 1x1, 1x1, plus the middle frame",
        },
        checkpoint="flowzoo.checkpoints.toflow:convert",
        task="super-resolution",
        notes="Frames go in at the size of the result. Converted official weights (MIT code) want order=official.",
    ),
)
