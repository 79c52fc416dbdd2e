"""What a pickle of `torch.save` may refer to: number types, storages and tensors, rebuilt here from checked numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowzoo.files.pickle_names import Name
from flowzoo.files.pickled_arrays import ARRAYS
from flowzoo.files.pickles import PickleError

_STORAGES = {
    **{"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
}
_TYPES = {
    *("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("complex64", "complex128", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"),
}
LARGEST_EXPANDED = 2**16
"""A tensor may repeat its numbers (stride 0) up to this size; beyond it, it has at most as many as its storage."""


@dataclass(frozen=True)
class StorageType:
    """The class of a storage; None: untyped, of bytes."""

    kind: torch.dtype | None

    def __call__(self, *_: Any) -> Any:
        raise PickleError("it makes a storage outside of the file")


@dataclass(frozen=True)
class Storage:
    """The numbers of one storage, one-dimensional, or its bytes (uint8)."""

    numbers: Tensor
    untyped: bool

    def typed(self, kind: Any) -> Tensor:
        """The numbers as `kind`, which only untyped storages leave open."""
        if not isinstance(kind, torch.dtype):
            raise PickleError("a tensor has no number type")
        if not self.untyped:
            return self.numbers
        whole = self.numbers.numel() // kind.itemsize * kind.itemsize
        return self.numbers[:whole].view(kind)


def rebuilt(numbers: Tensor, offset: Any, size: Any, stride: Any) -> Tensor:
    """The tensor of shape `size` that lies in a storage.

    Raises:
        PickleError: it does not lie within it.
    """
    shape, steps = tuple(size), tuple(stride)
    if len(shape) != len(steps) or len(shape) > 64:
        raise PickleError("a tensor's shape and strides do not agree")
    if any(type(number) is not int or number < 0 for number in (offset, *shape, *steps)):
        raise PickleError("a tensor has an impossible shape")
    count, last = 1, offset
    for side, step in zip(shape, steps, strict=True):
        count *= side
        last += (side - 1) * step
        if side and count > max(numbers.numel(), LARGEST_EXPANDED):
            raise PickleError(f"a tensor of shape {shape[:8]} has {numbers.numel()} numbers")
    if count == 0:
        return numbers.new_empty(shape)
    if last >= numbers.numel():
        raise PickleError("a tensor reaches beyond its numbers")
    return torch.as_strided(numbers, shape, steps, offset)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """`torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`."""
    if not isinstance(storage, Storage) or storage.untyped:
        raise PickleError("a tensor has no storage")
    return rebuilt(storage.numbers, offset, size, stride)


def _tensor_with_type(
    storage: Any, offset: Any, size: Any, stride: Any, gradient: Any, hooks: Any, kind: Any, *_: Any
) -> Tensor:
    """`torch._utils._rebuild_tensor_v3`."""
    if not isinstance(storage, Storage):
        raise PickleError("a tensor has no storage")
    return rebuilt(storage.typed(kind), offset, size, stride)


def _parameter(value: Any, *_: Any) -> Any:
    """`torch._utils._rebuild_parameter` and its relatives: the tensor alone."""
    if not isinstance(value, Tensor):
        raise PickleError("a parameter is no tensor")
    return value


def _of_subclass(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: the plain tensor of a subclass."""
    if isinstance(function, (Name, StorageType)) or not callable(function):
        raise PickleError(f"it holds tensors that only {function} can read")
    return function(*arguments)


def _size(sides: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sides, (list, tuple)):
        raise PickleError("a size is no tuple")
    return tuple(sides)


def _known() -> dict[tuple[str, str], Any]:
    known: dict[tuple[str, str], Any] = dict(ARRAYS)
    for module in ("torch", "torch.cuda", "torch.storage"):
        known |= {(module, f"{name}Storage"): StorageType(kind) for name, kind in _STORAGES.items()}
        known[module, "UntypedStorage"] = StorageType(None)
    known |= {("torch", name): getattr(torch, name) for name in _TYPES if hasattr(torch, name)}
    known["torch", "Size"] = _size
    rebuild: dict[str, Callable[..., Any]] = {
        "_rebuild_tensor": _tensor,
        "_rebuild_tensor_v2": _tensor,
        "_rebuild_tensor_v3": _tensor_with_type,
        "_rebuild_parameter": _parameter,
        "_rebuild_parameter_with_state": _parameter,
    }
    known |= {("torch._utils", name): function for name, function in rebuild.items()}
    known["torch._tensor", "_rebuild_from_type_v2"] = _of_subclass
    return known


KNOWN = _known()
"""What `read_pickle` needs to know for files of `torch.save`."""
