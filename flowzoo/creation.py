"""A network by name, with its weights: what `flowzoo.create` does. No torch at import time."""

from os import PathLike
from typing import TYPE_CHECKING, Any, cast

from flowzoo import registry
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.network import FlowNetwork, VideoNetwork, ZooNetwork

    Weights = str | PathLike[str] | None


def create(name: str, weights: "Weights" = None, **settings: Any) -> "ZooNetwork":
    """See `flowzoo.create`."""
    registry.card(name)
    if weights is None:
        return registry.build(name, **settings).eval()
    from flowzoo.checkpoints import load_weights

    return load_weights(name, weights, **settings).eval()


def create_flow_network(name: str, weights: "Weights" = None, **settings: Any) -> "FlowNetwork":
    """`create` for whoever needs flow.

    Raises:
        InputError: as for `flowzoo.create`, or a network of another task; the message names the command for that.
    """
    registry.require_task(name, "flow")
    return cast("FlowNetwork", create(name, weights, **settings))


def create_video_network(name: str, weights: "Weights" = None, **settings: Any) -> "VideoNetwork":
    """`create` for whoever needs frames from frames.

    Raises:
        InputError: as for `create_flow_network`.
    """
    registry.require_task(name, "super-resolution", "prediction", "interpolation")
    return cast("VideoNetwork", create(name, weights, **settings))


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
