"""Published GLU-Nets -> flowzoo's names: files of GLU-Net, GOCor and DenseMatching, and VGG-16 to train from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming
from flowzoo.checkpoints.matching import Family, move_context, move_decoder
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.zoo.glunet import GLUNetSettings


def convert(state: Mapping[str, Tensor], settings: "GLUNetSettings") -> dict[str, Tensor]:
    """See `Family.convert`."""
    return _FAMILY.convert(state, settings)


def _move(names: Renaming) -> None:
    names.move_layer("deconv4", "enlarge_mapping")
    for level in (3, 2, 1):
        move_decoder(names, f"decoder{level}", f"decoder{level}")
    move_context(names, "dc_conv", "context3")
    names.move_layer("deconv2", "enlarge_flow")
    names.move_layer("upfeat2", "enlarge_features")
    move_context(names, "l_dc_conv", "context1")


def refuse_other_matching(state: Mapping[str, Tensor], settings: "GLUNetSettings") -> None:
    """Say which network a file belongs to where it is another one of the family.

    Raises:
        InputError: it is.
    """
    kinds = {"NeighConsensus.": "semantic-glunet", "corr.corr_module.": "glunet-gocor"}
    found = next((name for part, name in kinds.items() if any(part in key for key in state)), "glunet")
    wanted = {"consensus": "semantic-glunet", "gocor": "glunet-gocor"}.get(settings.global_matching, "glunet")
    if found != wanted:
        raise InputError(f"this is a checkpoint of {found}, not of {wanted}: use --model {found}")


_FAMILY = Family(
    origin="GLU-Net",
    network="flowzoo.models.glunet:GLUNet",
    mark="decoder1.predict_flow.weight",
    known="GLU-Net's, GOCor's or DenseMatching's GLU-Nets",
    move=_move,
    check=refuse_other_matching,
)
