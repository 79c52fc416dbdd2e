"""flowzoo: optical flow networks whose parts are interchangeable.

    >>> import flowzoo
    >>> flow = flowzoo.estimate("pwcnet", first, second)        # HxWx3 uint8 twice -> HxWx2 float32

Importing this package imports nothing heavy; torch is loaded by the first call that needs it.
"""

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

from flowzoo.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from flowzoo.network import FlowNetwork, ZooNetwork

__version__ = "0.1.0"
__all__ = ["InputError", "create", "estimate", "import_checkpoint", "list_models", "read_flow", "write_flow"]
_ROOMS = ("archive", "flow")


def list_models(pattern: str = "*", task: str | None = None) -> list[str]:
    """Names of the zoo's networks that match a shell pattern, sorted.

    Args:
        pattern: with * and ?.
        task: "flow", "super-resolution", "prediction", "interpolation" or "alignment"; None = all of them.

    Raises:
        InputError: there is no such task.
    """
    from flowzoo import registry

    return registry.list_models(pattern, task)


def create(name: str, weights: "str | PathLike[str] | None" = None, **settings: Any) -> "ZooNetwork":
    """Build the network `name` in eval mode.

    Args:
        name: a name of `list_models()`.
        weights: a tag of `flowzoo weights list`, a file, or None for random weights.
        settings: settings of this network that differ from its card (`flowzoo models NAME` lists them).

    Raises:
        InputError: unknown name, tag or setting, a value out of range, or weights that do not fit.
    """
    from flowzoo.creation import create as run

    return run(name, weights, **settings)


def estimate(network_or_name: "FlowNetwork | str", first: "np.ndarray", second: "np.ndarray") -> "np.ndarray":
    """Flow from `first` to `second`, both HxWx3 RGB, uint8 or (0 to 65535) uint16.

    The result is HxWx2 float32, x then y, pixels of the input.

    A name stands for that network with its default weights; give a network for any other choice.

    Raises:
        InputError: an image is no such array (the message says how to make one), the sizes differ, or the name is not
            of a flow network.
    """
    from flowzoo.inference.estimator import estimate as run

    return run(network_or_name, first, second)


def import_checkpoint(name: str, state_dict: "Mapping[str, Tensor]", **settings: Any) -> "dict[str, Tensor]":
    """Turn a published state dict of network `name` into one that `create(name, **settings)` loads strictly.

    Args:
        name: a name of `list_models()`.
        state_dict: published names -> tensors; not changed.
        settings: as for `create`.

    Raises:
        InputError: a key of the file is left over, a parameter is missing, or a shape differs.
    """
    from flowzoo.checkpoints import import_checkpoint as run

    return run(name, state_dict, **settings)


def read_flow(path: "str | PathLike[str]") -> "tuple[np.ndarray, np.ndarray]":
    """Read a flow file: (HxWx2 float32, x then y, pixels; HxW bool, True = valid). The suffix gives the format."""
    from flowzoo.files.flow import read_flow as run

    return run(path)


def write_flow(path: "str | PathLike[str]", flow: "np.ndarray", valid: "np.ndarray | None" = None) -> None:
    """Write a flow file, complete or not at all. `.png` is KITTI's 16-bit encoding."""
    from flowzoo.files.flow import write_flow as run

    run(path, flow, valid)


def __getattr__(name: str) -> Any:
    """Rooms that are part of the interface, imported when they are first used: `flowzoo.flow`, `flowzoo.archive`."""
    if name in _ROOMS:
        return import_module(f"flowzoo.{name}")
    raise AttributeError(f"module 'flowzoo' has no attribute {name!r}")
