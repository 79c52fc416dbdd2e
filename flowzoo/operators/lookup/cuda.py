"""`lookup` and its gradients as CUDA launches (kernels/lookup.cu), or portable where no kernel fits."""

import numpy as np
import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.launch import MOST_SHARED, STORAGE, Argument, Launch
from flowzoo.operators.lookup import definition

MOST_WARPS = 8
"""Warps of a block."""


def _bytes_per_warp(kernel: str, radius: int) -> int:
    side = 2 * radius + 1
    window = (side + 1) ** 2
    return 4 * (window if kernel == "lookup" else side * side + 2 * window)


def warps_per_block(kernel: str, radius: int) -> int:
    """Warps of a block whose shared memory fits; 0 where not even one does."""
    return min(MOST_WARPS, MOST_SHARED // _bytes_per_warp(kernel, radius))


def _fits(kernel: str, first: Tensor, height: int, width: int, radius: int) -> bool:
    """Whether there is a kernel: single coordinates are 32-bit numbers there (products of them are not)."""
    return (
        first.dtype in STORAGE
        and first.numel() > 0
        and max(2 * (height + width + 2 * radius + 4), *first.shape[1:]) < 2**31
        and warps_per_block(kernel, radius) > 0
    )


def _pixels_first(maps: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,H,W,C), contiguous."""
    return maps.permute(0, 2, 3, 1).contiguous()


def _launch(
    kernel: str, fixed: bool, items: int, arguments: tuple[Argument, ...], like: Tensor, sizes: tuple[int, ...]
) -> None:
    """Start `kernel` with a warp an item; `sizes` are h, w, H, W, levels, the table's pixels and the radius."""
    *numbers, pixels, radius = sizes
    warps = warps_per_block(kernel, radius)
    batch, channels = like.shape[:2]
    launch.start(
        Launch(
            "lookup.cu",
            (("STORAGE", STORAGE[like.dtype]), ("SIDE", 2 * radius + 1), ("FIXED", int(fixed))),
            kernel,
            -(-items // warps),
            (32, warps),
            (*arguments, np.int64(batch), *(np.int32(number) for number in (channels, *numbers)), np.int64(pixels)),
            warps * _bytes_per_warp(kernel, radius),
        )
    )


def lookup(first: Tensor, table: Tensor, coordinates: Tensor, *numbers: int) -> Tensor:
    """See definition.lookup."""
    height, width, radius, levels = numbers
    if not _fits("lookup", first, height, width, radius):
        return definition.lookup(first, table, coordinates, *numbers)
    batch, _, rows, columns = first.shape
    result = first.new_empty(batch, rows, columns, levels * (2 * radius + 1) ** 2)
    inputs = _pixels_first(first), table.to(first.dtype).contiguous(), coordinates.to(torch.float32).contiguous()
    sizes = rows, columns, height, width, levels, table.shape[1], radius
    _launch("lookup", False, batch * rows * columns * levels, (*inputs, result), first, sizes)
    return result.permute(0, 3, 1, 2)


def lookup_backward(
    gradient: Tensor, first: Tensor, table: Tensor, coordinates: Tensor, *numbers: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See definition.lookup_backward.

    The gradient to `table` is summed by atomics, in an order that changes from run to run; after
    `torch.use_deterministic_algorithms(True)` in 64-bit fixed point, whose sums do not depend on it.
    """
    height, width, radius, levels, with_coordinates = numbers
    if not _fits("lookup_backward", first, height, width, radius):
        return definition.lookup_backward(gradient, first, table, coordinates, *numbers)
    batch, channels, rows, columns = first.shape
    incoming = _pixels_first(gradient.to(first.dtype))
    inputs = _pixels_first(first), table.to(first.dtype).contiguous(), coordinates.to(torch.float32).contiguous()
    exact = torch.are_deterministic_algorithms_enabled()
    scale = poison = None
    if exact:
        # All pixels of an image may look at one place, each with weights that sum to no more than 1.
        bound = incoming.abs().amax().double() * first.abs().amax().double()
        scale, poison = launch.fixed_point(bound * (rows * columns) / channels**0.5)
    to_first = torch.zeros_like(inputs[0], dtype=torch.float32)
    to_table = torch.zeros_like(inputs[1], dtype=torch.int64 if exact else torch.float32)
    to_coordinates = torch.zeros_like(inputs[2])
    results = to_first, to_table, to_coordinates if with_coordinates else None
    sizes = rows, columns, height, width, levels, table.shape[1], radius
    _launch("lookup_backward", exact, batch * rows * columns, (incoming, *inputs, *results, scale), first, sizes)
    if scale is not None and poison is not None:
        to_table = to_table.to(torch.float64) / scale + poison
    return (
        to_first.permute(0, 3, 1, 2).to(first.dtype),
        to_table.to(table.dtype),
        to_coordinates.to(coordinates.dtype),
    )
