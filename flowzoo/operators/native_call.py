"""The one door to the native CPU kernels: what a kernel may read and write, how it is called, with how many threads.

A kernel's C function takes pointers, whole numbers (int64_t), real numbers (float) and the number of threads, and
returns 0, or something else when memory ran out. It believes what it is told; so every tensor comes here with the shape
that the numbers promise, and one that is otherwise is an InputError before anything is read.
"""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators import native

FLOPS_PER_THREAD = 4_000_000
"""A thread's start costs about as much as this much arithmetic."""

LARGEST_NUMBER = 2**31
"""Sizes and steps beyond this are left to the portable operators: products of three must fit into 64 bits."""


@dataclass(eq=False, slots=True)
class Memory:
    """A tensor that a kernel may use, kept alive until the kernel is done. Made by `reads` and `writes`."""

    tensor: Tensor


Argument = Memory | int | float | None


def threads_for(flops: int) -> int:
    """How many of torch's threads a call of this size is worth."""
    return max(1, min(torch.get_num_threads(), flops // FLOPS_PER_THREAD))


def suits(*tensors: Tensor) -> bool:
    """Whether there are kernels for these: on the CPU, nothing empty, float32 or smaller, and the library is there."""
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.numel() == 0:
            return False
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            return False
    return native.library() is not None


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
    if tensor.device.type != "cpu":
        raise InputError(f"{name} must be on the CPU like the other tensors, got {tensor.device}")
    return Memory(tensor.to(dtype).contiguous(memory_format=layout))


def writes(
    *shape: int, layout: torch.memory_format = torch.contiguous_format, dtype: torch.dtype = torch.float32
) -> Memory:
    """A new tensor for a result."""
    return Memory(torch.empty(shape, dtype=dtype, device="cpu", memory_format=layout))


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
    values: list[ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float] = []
    for argument in arguments:
        if isinstance(argument, Memory):
            values.append(ctypes.c_void_p(argument.tensor.data_ptr()))
        elif isinstance(argument, int):
            if abs(argument) > LARGEST_NUMBER:
                return False
            values.append(ctypes.c_int64(argument))
        else:
            values.append(ctypes.c_void_p(None) if argument is None else ctypes.c_float(argument))
    # Values that carry their types: declaring those of the function anew at every call takes longer than all else here.
    return bool(getattr(library, f"flowzoo_{kernel}")(*values, ctypes.c_int64(threads)) == 0)
