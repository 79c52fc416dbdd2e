"""BaseNets trained with DenseMatching -> flowzoo's names, and VGG-16 to train from. No weights were published."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming
from flowzoo.checkpoints.matching import Family, move_context, move_decoder

if TYPE_CHECKING:
    from flowzoo.zoo.basenet import BaseNetSettings


def convert(state: Mapping[str, Tensor], settings: "BaseNetSettings") -> dict[str, Tensor]:
    """See `Family.convert`."""
    return _FAMILY.convert(state, settings)


def _move(names: Renaming) -> None:
    for level in (3, 2):
        move_decoder(names, f"decoder{level}", f"decoder{level}")
    names.move_layer("upfeat3", "enlarge_features")
    move_context(names, "dc_conv", "context")


_FAMILY = Family(
    origin="BaseNet",
    network="flowzoo.models.basenet:BaseNet",
    mark="upfeat3.weight",
    known="DenseMatching's BaseNets",
    move=_move,
)
