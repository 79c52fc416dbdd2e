"""Cards of BaseNet, the network of GOCor's ablation study."""

from dataclasses import dataclass, replace
from typing import Literal

from flowzoo.zoo.card import Card
from flowzoo.zoo.glunet import MatchingSettings


@dataclass(frozen=True)
class BaseNetSettings(MatchingSettings):
    """A BaseNet: three levels on the pair at 256x256.

    The rows of Table 6 of GOCor's paper: I is `basenet`; II global_matching=consensus; III global_matching=gocor with
    gocor_objective=linear and gocor_query_loss=false; IV global_matching=gocor with gocor_query_loss=false;
    V global_matching=gocor; VI is `basenet-gocor`.
    """

    mutual_matching: bool = False
    input_rounding: Literal["float", "8-bit"] = "8-bit"


_BASENET = BaseNetSettings()
_PAPER = "Truong, Danelljan, Van Gool, Timofte: GOCor, NeurIPS 2020, section 4.5"
_PARTS = {
    "features": "VGG-16 of ImageNet, at 256x256",
    "align": "warp",
    "measure": "global correlation at 16x16, then correlation 9x9",
    "decode": "mapping at 16x16, then densely connected with batch norm",
    "regularise": "dilated context network at 64x64",
}
_NOTES = "No weights were published. The images may have different sizes."

CARDS = (
    Card(
        name="basenet",
        summary="small geometric matching network for ablation studies",
        build="flowzoo.models.basenet:BaseNet",
        settings=_BASENET,
        parameters=11_460_346,
        paper=_PAPER,
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.basenet:convert",
        notes=_NOTES,
    ),
    Card(
        name="basenet-gocor",
        summary="BaseNet with GOCor's global and local matching",
        build="flowzoo.models.basenet:BaseNet",
        settings=replace(_BASENET, global_matching="gocor", local_matching="gocor"),
        parameters=11_463_883,
        paper=_PAPER,
        parts=_PARTS | {"measure": "global GOCor at 16x16, then local GOCor 9x9"},
        checkpoint="flowzoo.checkpoints.basenet:convert",
        notes=_NOTES,
    ),
)
