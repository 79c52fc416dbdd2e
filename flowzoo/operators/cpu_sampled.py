"""`sampled_volume` and its gradients on the CPU: the C++ kernel where it is, else the portable form."""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from flowzoo.operators import portable_sampled
from flowzoo.operators.cpu_correlation import plain, threads_for, usable

_MOST_RADIUS = 7
"""A window row must fit into the 16 lanes of the kernel's vectors."""

_SIZES = [ctypes.c_int64] * 11


class _Table(NamedTuple):
    """`second` in the kernel's layout: (B,H,C,dilation,padded), zeros around the columns held."""

    rows: Tensor
    margin: int
    held: int


def _table(second: Tensor, radius: int, dilation: int) -> _Table:
    batch, channels, height, width = second.shape
    held = -(-width // dilation)
    margin = 2 * radius + 2
    padded = -(-(margin + held + 17) // 16) * 16
    rows = torch.zeros(batch, height, channels, dilation, padded, dtype=torch.float32, device="cpu")
    turned = second.permute(0, 2, 1, 3)
    for phase in range(dilation):
        columns = turned[..., phase::dilation]
        rows[:, :, :, phase, margin : margin + columns.shape[3]] = columns
    return _Table(rows, margin, held)


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
        pixels = plain(first.permute(0, 2, 3, 1))
        table = _table(second, radius, dilation)
        whereto = plain(flow)
        volume = pixels.new_empty(batch, (2 * radius + 1) ** 2, height, width)
        function = kernels.flowzoo_sampled_volume
        function.argtypes = [*[ctypes.c_void_p] * 4, *_SIZES, ctypes.c_int, ctypes.c_int64]
        pointers = (pixels.data_ptr(), table.rows.data_ptr(), whereto.data_ptr(), volume.data_ptr())
        sizes = (batch, channels, *second.shape[2:], height, width, radius, dilation, stride)
        threads = threads_for(2 * first.numel() * (2 * radius + 2) ** 2)
        if function(*pointers, *sizes, table.rows.shape[4], table.margin, absolute, threads) == 0:
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
        incoming, pixels, whereto = plain(gradient), plain(first.permute(0, 2, 3, 1)), plain(flow)
        table = _table(second, radius, dilation)
        to_table = table._replace(rows=torch.zeros_like(table.rows))
        to_pixels = torch.zeros_like(pixels)
        # Images are independent; a single one is shared out by channels.
        threads = threads_for(6 * first.numel() * (2 * radius + 2) ** 2)
        slices = min(threads, channels) if batch < threads else 1
        to_flow = torch.zeros(slices, *flow.shape, dtype=torch.float32, device="cpu")
        function = kernels.flowzoo_sampled_volume_backward
        function.argtypes = [*[ctypes.c_void_p] * 7, *_SIZES, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        tensors = (incoming, pixels, table.rows, whereto, to_pixels, to_table.rows, to_flow)
        sizes = (batch, channels, *second.shape[2:], height, width, radius, dilation, stride)
        numbers = (*sizes, table.rows.shape[4], table.margin, absolute, slices, threads)
        if function(*(tensor.data_ptr() for tensor in tensors), *numbers) == 0:
            to_first = to_pixels.permute(0, 3, 1, 2).contiguous()
            to_second = _untable(to_table, second, dilation)
            return to_first.to(first.dtype), to_second.to(second.dtype), to_flow.sum(dim=0).to(flow.dtype)
    return portable_sampled.sampled_volume_backward(
        gradient, first, second, flow, radius, dilation, stride, absolute
    )
