"""BaseNets trained with DenseMatching -> flowzoo's names, and VGG-16 to train from. No weights were published."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import unknown_names
from flowzoo.checkpoints.matching import complete, move_common, move_context, move_decoder, published

if TYPE_CHECKING:
    from flowzoo.zoo.basenet import BaseNetSettings


def convert(state: Mapping[str, Tensor], settings: "BaseNetSettings") -> dict[str, Tensor]:
    """Their state dict as ours.

    A VGG-16 of ImageNet fills the backbone; all else then has a random start, drawn from a fixed seed.

    Raises:
        InputError: its names are unknown, or do not match these settings.
    """
    whole = complete(state, "flowzoo.models.basenet:BaseNet", settings)
    if whole is not None:
        return whole
    names = published(state, "BaseNet")
    if not names.has("upfeat3.weight"):
        raise unknown_names(state, "DenseMatching's BaseNets, nor VGG-16's")
    move_common(names, settings)
    for level in (3, 2):
        move_decoder(names, f"decoder{level}", f"decoder{level}")
    names.move_layer("upfeat3", "enlarge_features")
    move_context(names, "dc_conv", "context")
    return names.finish()
