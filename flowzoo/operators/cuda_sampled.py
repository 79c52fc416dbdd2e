"""`sampled_volume` and its gradients as CUDA launches (kernels/sampled_volume.cu), or portable where no kernel fits."""

import numpy as np
import torch
from torch import Tensor

from flowzoo.operators import launch, portable_sampled
from flowzoo.operators.launch import MOST_SHARED, STORAGE, Launch, numbers

MOST_PIXELS = 8
"""Output pixels (warps) of a block."""

MOST_SAD_RADIUS = 7
"""The gradient of SAD holds rows of the window in registers."""


def _pixels_per_block(radius: int, dilation: int, windows: int) -> int:
    """Warps whose costs and `windows` windows fit into shared memory; 0 where not even one does."""
    side = 2 * radius + 1
    window = side + 1 if dilation == 1 else 2 * side
    return min(MOST_PIXELS, MOST_SHARED // (4 * (side * side + windows * window * window)))


def _shared_bytes(pixels: int, radius: int, dilation: int, windows: int) -> int:
    side = 2 * radius + 1
    window = side + 1 if dilation == 1 else 2 * side
    return 4 * pixels * (side * side + windows * window * window)


def _pixels_first(maps: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,H,W,C), contiguous."""
    return maps.permute(0, 2, 3, 1).contiguous()


def _fits(first: Tensor, radius: int, absolute: bool, pixels: int) -> bool:
    return (
        first.dtype in STORAGE
        and first.numel() > 0
        and pixels > 0
        and not (absolute and radius > MOST_SAD_RADIUS)
    )


def sampled_volume(
    first: Tensor, second: Tensor, flow: Tensor, radius: int, dilation: int, stride: int, absolute: bool
) -> Tensor:
    """See portable_sampled.sampled_volume."""
    windows = 0 if absolute else 1
    pixels = _pixels_per_block(radius, dilation, windows)
    if not _fits(first, radius, absolute, pixels):
        return portable_sampled.sampled_volume(first, second, flow, radius, dilation, stride, absolute)
    batch, channels, rows, columns = first.shape
    side = 2 * radius + 1
    volume = first.new_empty(batch, side * side, rows, columns)
    inputs = (_pixels_first(first), _pixels_first(second.to(first.dtype)), flow.to(torch.float32).contiguous())
    sizes = numbers(batch, channels, *second.shape[2:], rows, columns, dilation, stride)
    launch.start(
        Launch(
            "sampled_volume.cu",
            (("STORAGE", STORAGE[first.dtype]), ("SIDE", side), ("FIXED", 0)),
            "sampled_volume",
            -(-batch * rows * columns // pixels),
            (32, pixels),
            (*inputs, volume, *sizes, np.int32(absolute)),
            _shared_bytes(pixels, radius, dilation, windows),
        )
    )
    return volume


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
    """See portable_sampled.sampled_volume_backward.

    The gradient to `second` is summed by atomics, in an order that changes from run to run; after
    `torch.use_deterministic_algorithms(True)` in 64-bit fixed point, whose sums do not depend on it.
    """
    windows = 0 if absolute else 2
    pixels = _pixels_per_block(radius, dilation, windows)
    if not _fits(first, radius, absolute, pixels):
        return portable_sampled.sampled_volume_backward(
            gradient, first, second, flow, radius, dilation, stride, absolute
        )
    batch, channels, rows, columns = first.shape
    side = 2 * radius + 1
    gradient = gradient.to(first.dtype).contiguous()
    maps = (_pixels_first(first), _pixels_first(second.to(first.dtype)))
    inputs = (gradient, *maps, flow.to(torch.float32).contiguous())
    exact = torch.are_deterministic_algorithms_enabled()
    scale, poison = _fixed_scale(gradient, first, absolute) if exact else (None, None)
    to_first = torch.empty_like(inputs[1])
    to_second = torch.zeros_like(inputs[2], dtype=torch.int64 if exact else torch.float32)
    to_flow = torch.empty_like(inputs[3])
    sizes = numbers(batch, channels, *second.shape[2:], rows, columns, dilation, stride)
    launch.start(
        Launch(
            "sampled_volume.cu",
            (("STORAGE", STORAGE[first.dtype]), ("SIDE", side), ("FIXED", int(exact))),
            "sampled_volume_backward",
            -(-batch * rows * columns // pixels),
            (32, pixels),
            (*inputs, to_first, to_second, to_flow, scale, *sizes, np.int32(absolute)),
            _shared_bytes(pixels, radius, dilation, windows),
        )
    )
    if scale is not None and poison is not None:
        to_second = to_second.to(torch.float64) / scale + poison
    return (
        to_first.permute(0, 3, 1, 2).contiguous(),
        to_second.permute(0, 3, 1, 2).to(second.dtype).contiguous(),
        to_flow.to(flow.dtype),
    )


def _fixed_scale(gradient: Tensor, first: Tensor, absolute: bool) -> tuple[Tensor, Tensor]:
    """The fixed-point scale for the gradient to the second map: all pixels of an image may look at one place."""
    bound = gradient.abs().amax().double() * (gradient.shape[2] * gradient.shape[3]) / first.shape[1]
    return launch.fixed_point(bound if absolute else bound * first.abs().amax().double())
