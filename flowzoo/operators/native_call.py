"""The one door to the native CPU kernels: what a kernel may read and write, how it is called, with how many threads.

A kernel's C function takes pointers, whole numbers (int64_t), real numbers (float) and the number of threads, and
returns 0, or something else when memory ran out. It believes what it is told; so every tensor comes here with the shape
that the numbers promise, and one that is otherwise is an InputError before anything is read.
"""

import ctypes
import mmap
import sys

import torch
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators import native

FLOPS_PER_THREAD = 4_000_000
"""A thread's start costs about as much as this much arithmetic."""

LARGEST_NUMBER = 2**31
"""Sizes and steps beyond this are left to the portable operators: products of three must fit into 64 bits."""

_SMALLEST_NUMBER = -LARGEST_NUMBER
_LARGE = 4 << 20
"""Bytes of a result from which on the system fills its memory page by page while it is written."""
_DTYPES = frozenset((torch.float32, torch.float16, torch.bfloat16))
_CPU = torch.device("cpu")
_FLOAT32 = torch.empty(0, dtype=torch.float32, device=_CPU)


class Memory:
    """A tensor that a kernel may use, kept alive until the kernel is done. Made by `reads` and `writes`."""

    __slots__ = ("_as_parameter_", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._as_parameter_ = tensor.data_ptr()  # what ctypes passes

    def in_(self, dtype: torch.dtype) -> Tensor:
        """The tensor, converted where it has another type."""
        return self.tensor if self.tensor.dtype is dtype else self.tensor.to(dtype)


Argument = Memory | int | float | None


def threads_for(flops: int) -> int:
    """How many of torch's threads a call of this size is worth."""
    worth = flops // FLOPS_PER_THREAD
    return min(torch.get_num_threads(), worth) if worth > 1 else 1


def suits(*tensors: Tensor) -> bool:
    """Whether kernels take these: on the CPU, nothing empty, float32 or smaller. Whether there are any, `run` says.

    Not while torch.func maps or differentiates a function: its tensors hold no numbers that could be read.
    """
    if torch._C._are_functorch_transforms_active():
        return False
    for tensor in tensors:  # noqa: SIM110 (a loop takes half the time of all(), and calls are short)
        if not tensor.is_cpu or tensor.dtype not in _DTYPES or tensor.numel() == 0:
            return False
    return True


def reads(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    *,
    layout: torch.memory_format = torch.contiguous_format,
    dtype: torch.dtype = torch.float32,
) -> Memory:
    """`tensor`, which must have this shape, as a kernel reads it: one number after the other.

    Raises:
        InputError: another shape or another device.
    """
    if tensor.shape != shape:
        raise InputError(f"{name} must have the shape {tuple(shape)}, got {tuple(tensor.shape)}")
    if not tensor.is_cpu:
        raise InputError(f"{name} must be on the CPU like the other tensors, got {tensor.device}")
    if tensor.dtype is not dtype or not tensor.is_contiguous(memory_format=layout):
        tensor = tensor.to(dtype).contiguous(memory_format=layout)
    return Memory(tensor)


def reads_pixels(
    name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> tuple[Memory, int]:
    """`tensor` in channels-last layout, or some channels of such a tensor, and the numbers from pixel to pixel.

    Raises:
        InputError: another shape or another device.
    """
    if pixel := numbers_a_pixel(tensor, dtype):
        if tensor.shape != shape:
            raise InputError(f"{name} must have the shape {tuple(shape)}, got {tuple(tensor.shape)}")
        return Memory(tensor), pixel
    return reads(name, tensor, shape, layout=torch.channels_last, dtype=dtype), shape[1]


def writes_pixels(name: str, tensor: Tensor, shape: tuple[int, ...]) -> tuple[Memory, int]:
    """`tensor`, in channels-last layout or some channels of such a tensor, for a result; the numbers between pixels.

    Raises:
        InputError: another shape, device or layout.
    """
    pixel = numbers_a_pixel(tensor, tensor.dtype)
    if tensor.shape != shape or not pixel:
        given = f"{tuple(tensor.shape)} with strides {tensor.stride()} on {tensor.device}"
        raise InputError(f"{name} must have the shape {tuple(shape)} and be channels last on the CPU, got {given}")
    return Memory(tensor), pixel


def numbers_a_pixel(maps: Tensor, dtype: torch.dtype = torch.float32) -> int:
    """How far pixels lie apart in maps of this type on the CPU whose channels lie beside each other; 0 in others."""
    if not maps.is_cpu or maps.dtype is not dtype or maps.dim() != 4:
        return 0
    pixel, width = maps.stride(3), maps.shape[3]
    beside = pixel >= maps.shape[1] and maps.stride() == (maps.shape[2] * width * pixel, 1, width * pixel, pixel)
    return pixel if beside else 0


def writes(
    *shape: int, layout: torch.memory_format = torch.contiguous_format, dtype: torch.dtype = torch.float32
) -> Memory:
    """A new tensor for a result."""
    if layout is torch.contiguous_format and dtype is torch.float32:
        return Memory(in_large_pages(_FLOAT32.new_empty(shape)))  # faster than torch.empty, which looks at options
    return Memory(in_large_pages(torch.empty(shape, dtype=dtype, device=_CPU, memory_format=layout)))


def in_large_pages(result: Tensor) -> Tensor:
    """`result`, new and not written yet; where it is large, Linux may give it memory in pages of 2 MB.

    Otherwise every 4 KB of it cost an interruption when they are first written.
    """
    size = result.numel() * result.element_size()
    if size >= _LARGE and sys.platform == "linux" and hasattr(mmap, "MADV_HUGEPAGE"):
        begin = -(-result.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (result.data_ptr() + size - begin) // mmap.PAGESIZE * mmap.PAGESIZE
        advise = getattr(ctypes.CDLL(None), "madvise", None)
        if advise is not None:
            advise(ctypes.c_void_p(begin), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)  # only a hint: may fail
    return result


def run(kernel: str, *arguments: Argument, threads: int) -> bool:
    """Call the native function flowzoo_`kernel`; False where there is none or it could not do it.

    Args:
        kernel: its name.
        arguments: in the kernel's order. None is a null pointer; bool counts as a whole number.
        threads: the last argument of every kernel.
    """
    library = native.library()
    if library is None:
        return False
    for argument in arguments:
        if type(argument) is int and (argument > LARGEST_NUMBER or argument < _SMALLEST_NUMBER):
            return False
    function = getattr(library, "flowzoo_" + kernel)
    if getattr(function, "argtypes", None) is None:  # once a kernel: it takes longer than all else here
        function.argtypes = [*map(_c_type, arguments), ctypes.c_int64]
    return function(*arguments, threads) == 0  # type: ignore[no-any-return]


def _c_type(argument: Argument) -> type[ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float]:
    """How C takes it."""
    if argument is None or isinstance(argument, Memory):
        return ctypes.c_void_p
    return ctypes.c_int64 if isinstance(argument, int) else ctypes.c_float
