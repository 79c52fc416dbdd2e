"""`sampled_volume` and its gradients on the CPU: the C++ kernel where it is, else the portable form."""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from flowzoo.operators import portable_sampled
from flowzoo.operators.cpu_correlation import plain, threads_for, usable

_MOST_RADIUS = 7
"""A window row must fit into the 16 lanes of the kernel's vectors."""

_SIZES = [ctypes.c_int64] * 12

_SKEW = 48
"""Numbers between the table's rows: without them all rows of a window would fall on the same few cache sets.

Whole cache lines, because the kernel aligns its loads with a row's first number.
"""


class _Table(NamedTuple):
    """`second` in the kernel's layout."""

    memory: Tensor  # (B,H,row step)
    rows: Tensor  # (B,H,C,dilation,padded), a view of it: zeros around the columns
    margin: int

    def sizes(self) -> tuple[int, int, int]:
        """The numbers that describe the layout to the kernel."""
        return self.rows.shape[4], self.margin, self.memory.shape[2]


def _empty_table(second: Tensor, radius: int, dilation: int) -> _Table:
    batch, channels, height, width = second.shape
    margin = 2 * radius + 2
    padded = -(-(margin + -(-width // dilation) + 17) // 16) * 16
    used = channels * dilation * padded
    memory = torch.empty(batch, height, used + _SKEW, dtype=torch.float32, device="cpu")
    return _Table(memory, memory[:, :, :used].unflatten(2, (channels, dilation, padded)), margin)


def _table(kernels: ctypes.CDLL, second: Tensor, radius: int, dilation: int, threads: int) -> _Table:
    table, maps = _empty_table(second, radius, dilation), plain(second)
    function = kernels.flowzoo_sampled_table
    function.argtypes = [*[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 9]
    numbers = (*second.shape, dilation, *table.sizes(), threads)
    function(maps.data_ptr(), table.memory.data_ptr(), *numbers)  # allocates nothing, so it cannot fail
    return table


def _pixels_last(maps: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,H,W,C) contiguous float32; PyTorch's copy of a transposed matrix is several times as fast as of
    a permuted tensor.
    """
    batch, channels, height, width = maps.shape
    turned = torch.empty(batch, height * width, channels, dtype=torch.float32, device="cpu")
    for target, source in zip(turned, plain(maps), strict=True):
        target.copy_(source.flatten(1).t())
    return turned.view(batch, height, width, channels)


def _untable(table: _Table, like: Tensor, dilation: int) -> Tensor:
    """The inverse of `_table` for a gradient."""
    result = torch.empty(like.shape, dtype=torch.float32, device="cpu")
    for phase in range(dilation):
        columns = result[..., phase::dilation]
        stop = table.margin + columns.shape[3]
        columns.copy_(table.rows[:, :, :, phase, table.margin : stop].permute(0, 2, 1, 3))
    return result


def sampled_volume(
    first: Tensor, second: Tensor, flow: Tensor, radius: int, dilation: int, stride: int, absolute: bool
) -> Tensor:
    """See portable_sampled.sampled_volume."""
    kernels = usable(first) if radius <= _MOST_RADIUS else None
    if kernels is not None:
        batch, channels, height, width = first.shape
        threads = threads_for(2 * first.numel() * (2 * radius + 2) ** 2)
        maps, whereto = plain(first), plain(flow)
        table = _table(kernels, second, radius, dilation, threads)
        volume = maps.new_empty(batch, (2 * radius + 1) ** 2, height, width)
        function = kernels.flowzoo_sampled_volume
        function.argtypes = [*[ctypes.c_void_p] * 4, *_SIZES, ctypes.c_int, ctypes.c_int64]
        pointers = (maps.data_ptr(), table.memory.data_ptr(), whereto.data_ptr(), volume.data_ptr())
        sizes = (batch, channels, *second.shape[2:], height, width, radius, dilation, stride)
        if function(*pointers, *sizes, *table.sizes(), absolute, threads) == 0:
            return volume.to(first.dtype)
    return portable_sampled.sampled_volume(first, second, flow, radius, dilation, stride, absolute)


def sampled_volume_backward(
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    flow: Tensor,
    radius: int,
    dilation: int,
    stride: int,
    absolute: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """See portable_sampled.sampled_volume_backward."""
    kernels = usable(first) if radius <= _MOST_RADIUS else None
    if kernels is not None:
        batch, channels, height, width = first.shape
        incoming, pixels, whereto = plain(gradient), _pixels_last(first), plain(flow)
        # Images are independent; a single one is shared out by channels.
        threads = threads_for(6 * first.numel() * (2 * radius + 2) ** 2)
        table = _table(kernels, second, radius, dilation, threads)
        to_table = _empty_table(second, radius, dilation)
        to_table.memory.zero_()
        to_pixels = torch.zeros_like(pixels)
        slices = min(threads, channels) if batch < threads else 1
        to_flow = torch.zeros(slices, *flow.shape, dtype=torch.float32, device="cpu")
        function = kernels.flowzoo_sampled_volume_backward
        function.argtypes = [*[ctypes.c_void_p] * 7, *_SIZES, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        tensors = (incoming, pixels, table.memory, whereto, to_pixels, to_table.memory, to_flow)
        sizes = (batch, channels, *second.shape[2:], height, width, radius, dilation, stride)
        numbers = (*sizes, *table.sizes(), absolute, slices, threads)
        if function(*(tensor.data_ptr() for tensor in tensors), *numbers) == 0:
            to_first = to_pixels.permute(0, 3, 1, 2).contiguous()
            to_second = _untable(to_table, second, dilation)
            return to_first.to(first.dtype), to_second.to(second.dtype), to_flow.sum(dim=0).to(flow.dtype)
    return portable_sampled.sampled_volume_backward(gradient, first, second, flow, radius, dilation, stride, absolute)
