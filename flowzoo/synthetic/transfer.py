"""Numbers that the host has and a device needs: all of a batch in one copy, which nobody waits for."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from flowzoo.devices import costs_a_wait, moved

T = TypeVar("T")


def moved_together(tree: T, device: torch.device) -> T:
    """`tree` with what it has on the CPU on `device`, in float32; where `device` is the CPU, `tree` itself.

    Args:
        tree: a tensor, or lists, tuples and dataclasses of tensors; whatever else is in them stays as it is.
    """
    if not costs_a_wait(device):
        return tree
    found: list[Tensor] = []

    def noted(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _mapped(tree, noted)
    if not found:
        return tree
    sent = moved(torch.cat([tensor.flatten().float() for tensor in found]), device)
    parts = iter(sent.split([tensor.numel() for tensor in found]))
    result: T = _mapped(tree, lambda tensor: next(parts).view(tensor.shape))
    return result


def _mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy of `tree` with its tensors on the CPU changed, in an order that is always the same."""
    if isinstance(tree, Tensor):
        return change(tree) if tree.device.type == "cpu" else tree
    if isinstance(tree, (list, tuple)):
        return type(tree)(_mapped(part, change) for part in tree)
    if dataclasses.is_dataclass(tree):
        twin = copy.copy(tree)
        for entry in dataclasses.fields(tree):
            setattr(twin, entry.name, _mapped(getattr(tree, entry.name), change))
        return twin
    return tree
