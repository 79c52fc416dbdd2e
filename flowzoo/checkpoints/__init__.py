"""Weights: the index of what is published, its download, and the conversion of every published format into ours.

Importing this package imports no torch; the functions below do when they are called.
"""

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from flowzoo.network import ZooNetwork

__all__ = ["describe", "import_checkpoint", "load_weights", "model_of_weights", "save_weights"]


def import_checkpoint(name: str, state_dict: "Mapping[str, Any]", **settings: Any) -> "dict[str, Tensor]":
    """Turn a published state dict of network `name` into one that `create(name, **settings)` loads strictly.

    Args:
        name: of the network.
        state_dict: published names -> tensors, alone or inside a training script's dict; not changed.
        settings: as for `create`.

    Raises:
        InputError: a tensor is left over or missing, has another shape, or is not finite.
    """
    from flowzoo.checkpoints.importing import import_checkpoint as run

    return run(name, state_dict, **settings)


def load_weights(
    name: str, weights: "str | PathLike[str]", *, entry: str | None = None, **settings: Any
) -> "ZooNetwork":
    """Build network `name` with weights, in training mode.

    Args:
        name: of the network.
        weights: a tag of the index (downloaded on first use), or a file of any known format.
        entry: which of several state dicts in a training script's file, as a path of keys: "model_ema". None: the
            trained weights under their usual name, else an average of them; a log line says which where there are more.
        settings: that differ from the card; those that our files or the index record are applied first.

    Raises:
        InputError: unknown name or tag, no such file, a damaged file, or weights of another model.
    """
    from flowzoo.checkpoints.loading import load_weights as run

    return run(name, weights, entry=entry, **settings)


def save_weights(network: "ZooNetwork", path: "str | PathLike[str]", **facts: Any) -> None:
    """Write a network's weights as our safetensors file, complete or not at all.

    Model and changed settings are recorded; `facts` is what else the file shall say (licence, trained_on, recipe, ...),
    in values that JSON knows. The same weights and facts give the same bytes.

    Raises:
        InputError: the file cannot be written, or a fact is no plain value.
    """
    from flowzoo.checkpoints.loading import save_weights as run

    run(network, path, **facts)


def describe(path: "str | PathLike[str]", entry: str | None = None) -> dict[str, Any]:
    """What a file of weights is.

    Args:
        path: the file.
        entry: as for `load_weights`.

    Returns:
        "file", "format", "bytes", "sha256", "tensors" (number), "parameters" (numbers in them), "models" (networks of
        the zoo that it fits), "tags" (entries of the index with this content), "entry" (which of its state dicts this
        is), "others" (those that it also holds), "ignored" (classes of other programs' objects in it), "facts" (what it
        says about itself).

    Raises:
        InputError: it is no file of weights, or damaged.
    """
    from flowzoo.checkpoints.loading import describe as run

    return run(path, entry)


def model_of_weights(weights: "str | PathLike[str]", entry: str | None = None) -> str:
    """The network that a tag or a file belongs to.

    Raises:
        InputError: unknown tag or file, or a file that fits no network or several.
    """
    from flowzoo.checkpoints.loading import model_of_weights as run

    return run(weights, entry)
