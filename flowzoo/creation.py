"""A network by name, with its weights: what `flowzoo.create` does. No torch at import time."""

from os import PathLike
from typing import TYPE_CHECKING, Any

from flowzoo import registry
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.network import FlowNetwork


def create(name: str, weights: "str | PathLike[str] | None" = None, **settings: Any) -> "FlowNetwork":
    """See `flowzoo.create`."""
    registry.card(name)
    if weights is None:
        return registry.build(name, **settings).eval()
    from flowzoo.checkpoints import load_weights

    return load_weights(name, weights, **settings).eval()


def default_weights(name: str) -> str:
    """The weights that stand for `name` where none are given.

    Raises:
        InputError: unknown name, or a network that has no weights of its own.
    """
    weights = registry.card(name).default_weights
    if not weights:
        raise InputError(
            f"{name} has no weights of its own: give a tag or a file (`flowzoo weights list` shows what is published)"
        )
    return weights
