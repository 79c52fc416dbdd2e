"""Finding the state dict inside what a training script has saved."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params_ema", "params")
_PREFIXES = ("module.", "model.", "state_dict.", "network.", "net.", "_orig_mod.")


def find_state_dict(content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split what a file holds into its tensors by name and plain facts around them.

    Takes a flat state dict, or a dict that holds one under a usual name ("state_dict", ...), at any depth.
    Returns empty tensors if there is none.
    """
    if not isinstance(content, Mapping):
        return {}, {}
    for name in CONTAINERS:
        found, facts = find_state_dict(content.get(name))
        if found:
            return found, plain_facts(content) | facts
    tensors = {str(key): as_tensor(value) for key, value in content.items() if is_tensor(value)}
    return strip_prefixes(tensors), plain_facts(content)


def strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefixes of wrappers (DataParallel's "module." and the like) that all of them share."""
    names = list(tensors)
    removed = 0
    while True:
        shared = [p for p in _PREFIXES if names and all(name.startswith(p, removed) for name in names)]
        if not shared:
            return {name[removed:]: value for name, value in tensors.items()}
        removed += len(shared[0])


def is_tensor(value: Any) -> bool:
    """Whether a value of a file counts as a parameter."""
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub")


def as_tensor(value: Any) -> Tensor:
    """The parameter as a tensor on the CPU without gradient."""
    return value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))


def plain_facts(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The numbers and short texts beside the tensors: epoch, iteration, name of the network, ..."""
    facts: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 200):
            facts[str(key)] = value
    return facts
