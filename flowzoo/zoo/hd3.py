"""Cards of HD3."""

from dataclasses import dataclass, replace
from typing import Literal

from flowzoo.zoo.card import Card
from flowzoo.zoo.shared import PyramidSettings


@dataclass(frozen=True)
class HD3Settings(PyramidSettings):
    """An HD3. Level l = 0..4 has 1/2^(6-l) of the input's size; each adds a match density and a flow residual.

    cost_range is the radius of the match density, too (4, or 8 for the wide variant of "Improving Optical Flow on a
    Pyramid Level").

    Attributes:
        decoder: "hda" (two residual blocks and an aggregation node, as published) or "resnet" (without the node).
        context: whether the finest decoder is a stack of dilated convolutions.
    """

    decoder: Literal["hda", "resnet"] = "hda"
    context: bool = False


_HD3 = HD3Settings()
_PARTS = {
    "features": "DLA-34 with one more level, iterative deep aggregation upwards",
    "align": "warp, masked outside the image",
    "measure": "correlation 9x9, batch norm",
    "decode": "hierarchical deep aggregation to a match density; the flow is read from the density",
    "regularise": "none",
}
_PAPER = "Yin, Darrell, Yu: Hierarchical Discrete Distribution Decomposition for Match Density Estimation, CVPR 2019"

CARDS = (
    Card(
        name="hd3",
        summary="match densities from coarse to fine; gives a confidence with every vector",
        build="flowzoo.models.hd3:HD3",
        settings=_HD3,
        parameters=39_561_975,
        paper=_PAPER,
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.hd3:convert",
    ),
    Card(
        name="hd3-context",
        summary="HD3 with a dilated context module as its finest decoder",
        build="flowzoo.models.hd3:HD3",
        settings=replace(_HD3, context=True),
        parameters=39_942_647,
        paper=_PAPER,
        parts=_PARTS | {"regularise": "dilated convolutions in the finest decoder"},
        checkpoint="flowzoo.checkpoints.hd3:convert",
    ),
)
