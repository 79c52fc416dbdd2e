"""`correlate`, `gather` and `scatter` on the CPU: the C++ kernels where they are, else the portable loops."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from flowzoo.operators import native, portable_correlation

_FLOPS_PER_THREAD = 4_000_000
"""A thread's start costs about as much as this much arithmetic."""

_SIZES: list[Any] = [ctypes.c_int64] * 6
_POINTERS: list[Any] = [ctypes.c_void_p] * 3
_ARGUMENTS: dict[str, list[Any]] = {
    "flowzoo_correlate": [*_POINTERS, *_SIZES, ctypes.c_float, ctypes.c_int64, ctypes.c_int64],
    "flowzoo_gather": [*_POINTERS, *_SIZES, ctypes.c_float, ctypes.c_int, ctypes.c_int64, ctypes.c_int64],
}


def threads_for(flops: int) -> int:
    """How many of torch's threads a call of this size is worth."""
    return max(1, min(torch.get_num_threads(), flops // _FLOPS_PER_THREAD))


def plain(maps: Tensor) -> Tensor:
    """`maps` as contiguous float32."""
    return maps.to(torch.float32).contiguous()


def usable(maps: Tensor) -> ctypes.CDLL | None:
    """The kernels' library if it can take `maps`: float32 or smaller, and not empty."""
    if maps.dtype == torch.float64 or maps.numel() == 0:
        return None
    return native.library()


def correlate(first: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """See portable_correlation.correlate."""
    kernels = usable(first)
    if kernels is None:
        return portable_correlation.correlate(first, second, radius, dilation, scale)
    batch, channels, height, width = first.shape
    displacements = (2 * radius + 1) ** 2
    inputs = plain(first), plain(second)
    volume = inputs[0].new_empty(batch, displacements, height, width)
    function = kernels.flowzoo_correlate
    function.argtypes = _ARGUMENTS["flowzoo_correlate"]
    pointers = (inputs[0].data_ptr(), inputs[1].data_ptr(), volume.data_ptr())
    threads = threads_for(2 * first.numel() * displacements)
    if function(*pointers, batch, channels, height, width, radius, dilation, scale, threads, -1) != 0:
        return portable_correlation.correlate(first, second, radius, dilation, scale)
    return volume.to(first.dtype)


def gather(volume: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """See portable_correlation.gather."""
    result = _gather(volume, second, radius, dilation, scale, flipped=False)
    return portable_correlation.gather(volume, second, radius, dilation, scale) if result is None else result


def scatter(volume: Tensor, first: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """See portable_correlation.scatter."""
    result = _gather(volume, first, radius, dilation, scale, flipped=True)
    return portable_correlation.scatter(volume, first, radius, dilation, scale) if result is None else result


def _gather(volume: Tensor, maps: Tensor, radius: int, dilation: int, scale: float, *, flipped: bool) -> Tensor | None:
    kernels = usable(maps)
    if kernels is None:
        return None
    inputs = plain(volume), plain(maps)
    result = torch.empty_like(inputs[1])
    function = kernels.flowzoo_gather
    function.argtypes = _ARGUMENTS["flowzoo_gather"]
    pointers = (inputs[0].data_ptr(), inputs[1].data_ptr(), result.data_ptr())
    threads = threads_for(2 * maps.numel() * volume.shape[1])
    if function(*pointers, *maps.shape, radius, dilation, scale, flipped, threads, -1) != 0:
        return None
    return result.to(maps.dtype)
