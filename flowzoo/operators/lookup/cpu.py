"""`lookup` and its gradients on the CPU (kernels/lookup.cpp), or portable where there is no kernel."""

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.lookup import definition
from flowzoo.operators.native_call import Memory, reads, suits, writes

_MOST_RADIUS = 16
_MOST_LEVELS = 16
_LANES = 16
"""A slice of channels is whole vectors of this many, the widest there are."""


def has_kernel(radius: int, levels: int, *tensors: Tensor) -> bool:
    """Whether the native kernel takes these."""
    return radius <= _MOST_RADIUS and levels <= _MOST_LEVELS and suits(*tensors)


def _inputs(
    first: Tensor, table: Tensor, coordinates: Tensor, height: int, width: int, levels: int
) -> tuple[Memory, Memory, Memory]:
    batch, channels, *grid = first.shape
    pixels = sum(rows * columns for rows, columns in definition.level_sizes((height, width), levels))
    return (
        reads("first", first, first.shape, layout=torch.channels_last),
        reads("table", table, (batch, pixels, channels)),
        reads("coordinates", coordinates, (batch, 2, *grid)),
    )


def lookup(first: Tensor, table: Tensor, coordinates: Tensor, *numbers: int) -> Tensor:
    """See definition.lookup."""
    height, width, radius, levels = numbers
    if has_kernel(radius, levels, first, table, coordinates):
        batch, _, *grid = first.shape
        memory = _inputs(first, table, coordinates, height, width, levels)
        costs = writes(batch, levels * (2 * radius + 1) ** 2, *grid, layout=torch.channels_last)
        threads = native_call.threads_for(2 * first.numel() * levels * (2 * radius + 2) ** 2)
        sizes = *first.shape, *numbers, table.shape[1]
        if native_call.run("lookup", *memory, costs, *sizes, threads=threads):
            return costs.in_(first.dtype)
    return definition.lookup(first, table, coordinates, *numbers)


def lookup_backward(
    gradient: Tensor, first: Tensor, table: Tensor, coordinates: Tensor, *numbers: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See definition.lookup_backward."""
    height, width, radius, levels, with_coordinates = numbers
    if has_kernel(radius, levels, gradient, first, table, coordinates):
        batch, channels, *grid = first.shape
        shape = (batch, levels * (2 * radius + 1) ** 2, *grid)
        incoming = reads("gradient", gradient, shape, layout=torch.channels_last)
        memory = _inputs(first, table, coordinates, height, width, levels)
        # Images are independent; a single one is shared out by channels.
        threads = native_call.threads_for(4 * first.numel() * levels * (2 * radius + 2) ** 2)
        slices = min(threads, max(1, channels // _LANES)) if batch < threads else 1
        to_first = writes(*first.shape, layout=torch.channels_last)
        to_table, to_coordinates = writes(*table.shape), writes(slices, *coordinates.shape)
        for result in (to_first, to_table, to_coordinates):
            result.tensor.zero_()
        results = to_first, to_table, to_coordinates if with_coordinates else None
        sizes = *first.shape, height, width, radius, levels, table.shape[1], slices
        if native_call.run("lookup_backward", incoming, *memory, *results, *sizes, threads=threads):
            to_places = to_coordinates.tensor.sum(dim=0).to(coordinates.dtype)
            return to_first.in_(first.dtype), to_table.in_(table.dtype), to_places
    return definition.lookup_backward(gradient, first, table, coordinates, *numbers)
