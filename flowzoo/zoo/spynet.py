"""Card of SPyNet."""

from dataclasses import dataclass
from typing import Literal

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class SPyNetSettings:
    """A SPyNet. Images are resized to multiples of 32; the coarsest level is always solved by the first module.

    Attributes:
        levels: how many levels there are: "six" for every image (BasicSR, mmagic, BasicVSR), or "adaptive": halved at
            most five times while the longer side is above 32 pixels (sniklaus), so that images of up to 512 pixels
            leave out the last modules. The two differ for such images.
    """

    levels: Literal["six", "adaptive"] = "six"


CARDS = (
    Card(
        name="spynet",
        summary="a small residual network at every level of an image pyramid; the flow inside BasicVSR and TOFlow",
        build="flowzoo.models.spynet:SPyNet",
        settings=SPyNetSettings(),
        parameters=1_440_300,
        paper="Ranjan, Black: Optical Flow Estimation using a Spatial Pyramid Network, CVPR 2017",
        parts={
            "features": "none: an image pyramid, 2x2 means",
            "align": "warp of the image, border repeated",
            "measure": "none: both images are seen as they are",
            "decode": "five 7x7 convolutions, one stack a level",
            "regularise": "none",
        },
        checkpoint="flowzoo.checkpoints.spynet:convert",
        notes="sniklaus' files want levels=adaptive to give his results. The authors' own files (Torch7) are not read.",
    ),
)
