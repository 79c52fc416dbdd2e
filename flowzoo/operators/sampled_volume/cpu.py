"""`sampled_volume` and its gradients on the CPU (kernels/sampled_volume.cpp), or portable where there is no kernel."""

from typing import NamedTuple

import torch
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators import native_call
from flowzoo.operators.native_call import Memory, reads, suits, writes
from flowzoo.operators.sampled_volume import definition

_MOST_RADIUS = 7
"""A window row must fit into the 16 lanes of the kernel's vectors."""

_MOST_PADDING = 16
"""A table larger than the map by more than this is not worth it: a dilation much larger than the map."""

_SKEW = 48
"""Numbers between the table's rows: without them all rows of a window would fall on the same few cache sets.

Whole cache lines, because the kernel aligns its loads with a row's first number.
"""


class _Table(NamedTuple):
    """`second` in the kernel's layout."""

    memory: Memory  # (B,H,row step)
    rows: Tensor  # (B,H,C,dilation,padded), a view of it: zeros around the columns
    margin: int

    def sizes(self) -> tuple[int, int, int]:
        """The numbers that describe the layout to the kernel."""
        return self.rows.shape[4], self.margin, self.memory.tensor.shape[2]


def _padded(width: int, radius: int, dilation: int) -> tuple[int, int]:
    """Columns of a table row, of which so many at its beginning are zeros."""
    margin = 2 * radius + 2
    return -(-(margin + -(-width // dilation) + 17) // 16) * 16, margin


def _suits(second: Tensor, radius: int, dilation: int, *others: Tensor) -> bool:
    width = second.shape[-1]
    if radius > _MOST_RADIUS or dilation * _padded(width, radius, dilation)[0] > _MOST_PADDING * (width + 64):
        return False
    return suits(second, *others)


def _empty_table(second: Tensor, radius: int, dilation: int) -> _Table:
    batch, channels, height, width = second.shape
    padded, margin = _padded(width, radius, dilation)
    used = channels * dilation * padded
    memory = writes(batch, height, used + _SKEW)
    return _Table(memory, memory.tensor[:, :, :used].unflatten(2, (channels, dilation, padded)), margin)


def _table(second: Tensor, radius: int, dilation: int, threads: int) -> _Table | None:
    table = _empty_table(second, radius, dilation)
    numbers = *second.shape, dilation, *table.sizes()
    maps = reads("second", second, second.shape)
    return table if native_call.run("sampled_table", maps, table.memory, *numbers, threads=threads) else None


def _pixels_last(maps: Memory) -> Tensor:
    """(B,C,H,W) -> (B,H,W,C) contiguous float32; PyTorch's copy of a transposed matrix is several times as fast as of
    a permuted tensor.
    """
    batch, channels, height, width = maps.tensor.shape
    turned = torch.empty(batch, height * width, channels, dtype=torch.float32, device="cpu")
    for target, source in zip(turned, maps.tensor, strict=True):
        target.copy_(source.flatten(1).t())
    return turned.view(batch, height, width, channels)


def _untable(table: _Table, like: Tensor, dilation: int) -> Tensor:
    """The inverse of `_table` for a gradient."""
    result = torch.empty(like.shape, dtype=torch.float32, device="cpu")
    for phase in range(min(dilation, like.shape[3])):
        columns = result[..., phase::dilation]
        stop = table.margin + columns.shape[3]
        columns.copy_(table.rows[:, :, :, phase, table.margin : stop].permute(0, 2, 1, 3))
    return result


def sampled_volume(first: Tensor, second: Tensor, flow: Tensor, *numbers: int) -> Tensor:
    """See definition.sampled_volume."""
    radius, dilation, stride, absolute = numbers
    if _suits(second, radius, dilation, first, flow):
        batch, channels, height, width = first.shape
        threads = native_call.threads_for(2 * first.numel() * (2 * radius + 2) ** 2)
        maps, whereto = reads("first", first, first.shape), reads("flow", flow, (batch, 2, height, width))
        _check_second(second, batch, channels)
        table = _table(second, radius, dilation, threads)
        volume = writes(batch, (2 * radius + 1) ** 2, height, width)
        sizes = batch, channels, *second.shape[2:], height, width, radius, dilation, stride
        if table is not None:
            memory = maps, table.memory, whereto, volume
            if native_call.run("sampled_volume", *memory, *sizes, *table.sizes(), absolute, threads=threads):
                return volume.in_(first.dtype)
    return definition.sampled_volume(first, second, flow, *numbers)


def _check_second(second: Tensor, batch: int, channels: int) -> None:
    if second.shape[:2] != (batch, channels):
        raise InputError(f"second must have the batch and channels {(batch, channels)}, got {tuple(second.shape)}")


def sampled_volume_backward(
    gradient: Tensor, first: Tensor, second: Tensor, flow: Tensor, *numbers: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See definition.sampled_volume_backward."""
    radius, dilation, stride, absolute = numbers
    if _suits(second, radius, dilation, gradient, first, flow):
        batch, channels, height, width = first.shape
        _check_second(second, batch, channels)
        incoming = reads("gradient", gradient, (batch, (2 * radius + 1) ** 2, height, width))
        pixels = _pixels_last(reads("first", first, first.shape))
        whereto = reads("flow", flow, (batch, 2, height, width))
        # Images are independent; a single one is shared out by channels.
        threads = native_call.threads_for(6 * first.numel() * (2 * radius + 2) ** 2)
        slices = min(threads, channels) if batch < threads else 1
        table = _table(second, radius, dilation, threads)
        to_table = _empty_table(second, radius, dilation)
        results = writes(*pixels.shape), to_table.memory, writes(slices, *flow.shape)
        for result in results:
            result.tensor.zero_()
        sizes = batch, channels, *second.shape[2:], height, width, radius, dilation, stride
        if table is not None:
            memory = incoming, Memory(pixels), table.memory, whereto, *results
            if native_call.run(
                "sampled_volume_backward", *memory, *sizes, *table.sizes(), absolute, slices, threads=threads
            ):
                to_first = results[0].tensor.permute(0, 3, 1, 2).contiguous()
                to_second = _untable(to_table, second, dilation)
                to_flow = results[2].tensor.sum(dim=0)
                return to_first.to(first.dtype), to_second.to(second.dtype), to_flow.to(flow.dtype)
    return definition.sampled_volume_backward(gradient, first, second, flow, *numbers)
