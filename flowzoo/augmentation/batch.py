"""What a training batch of any task is: a dataclass of tensors that moves as one."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import torch
from torch import Tensor
from torch.utils.data import default_collate

from flowzoo.devices import moved

B = TypeVar("B")


class Tensors:
    """Base of dataclasses whose fields are tensors, None, plain values, others of these, or lists, tuples and dicts."""

    def to(self, device: torch.device | str) -> Self:
        """All tensors on `device`; everything else as it is."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return type(self)(**{entry.name: _moved(getattr(self, entry.name), device) for entry in fields})


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return moved(value, device)
    if isinstance(value, Tensors):
        return value.to(device)
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(entry, device) for entry in value)
    if isinstance(value, dict):
        return {key: _moved(entry, device) for key, entry in value.items()}
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in such a dataclass, in the order of its fields."""
    if isinstance(value, Tensor):
        return [value]
    parts: list[Any] = []
    if isinstance(value, Tensors):
        parts = [getattr(value, entry.name) for entry in dataclasses.fields(value)]  # type: ignore[arg-type]
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    elif isinstance(value, dict):
        parts = list(value.values())
    return [tensor for part in parts for tensor in tensors_in(part)]


def stacked(kind: type[B], samples: Sequence[Any]) -> B:
    """The dataclass `kind` of the samples' tensors of the same names, stacked: (...) becomes (B,...).

    What only some samples have is 0 for the others; what none has is None.
    """
    return kind(
        **{
            entry.name: _stack([getattr(sample, entry.name) for sample in samples])
            for entry in dataclasses.fields(kind)  # type: ignore[arg-type]
        }
    )


def _stack(parts: list[Tensor | None]) -> Tensor | None:
    some = next((part for part in parts if part is not None), None)
    if some is None:
        return None
    whole = [torch.zeros_like(some) if part is None else part for part in parts]
    stack: Tensor = default_collate(whole)  # in a process that prepares batches, at once in memory that others can read
    return stack
