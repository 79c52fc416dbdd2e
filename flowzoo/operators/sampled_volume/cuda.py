"""`sampled_volume` and its gradients as CUDA launches (kernels/sampled_volume.cu), or portable where no kernel fits."""

import numpy as np
import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.launch import MOST_SHARED, STORAGE, Argument, Launch
from flowzoo.operators.sampled_volume import definition

MOST_PIXELS = 8
"""Output pixels (warps) of a block."""

WINDOWS = {"sampled_correlation": 1, "sampled_difference": 0, "correlation_backward": 2, "difference_backward": 32}
"""Windows of floats that each kernel keeps in shared memory for a pixel, beside its costs."""


def _bytes_per_pixel(kernel: str, radius: int, dilation: int) -> int:
    side = 2 * radius + 1
    window = side + 1 if dilation == 1 else 2 * side
    return 4 * (side * side + WINDOWS[kernel] * window * window)


def pixels_per_block(kernel: str, radius: int, dilation: int) -> int:
    """Warps of a block whose shared memory fits; 0 where not even one does."""
    return min(MOST_PIXELS, MOST_SHARED // _bytes_per_pixel(kernel, radius, dilation))


def _pixels_first(maps: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,H,W,C), contiguous."""
    return maps.permute(0, 2, 3, 1).contiguous()


def _launch(
    kernel: str, maps: Tensor, fixed: bool, arguments: tuple[Argument, ...], sizes: tuple[int, ...], radius: int
) -> None:
    """Start `kernel` with a warp a pixel; `sizes` are batch, C, H, W, h, w, dilation, stride."""
    pixels = pixels_per_block(kernel, radius, sizes[6])
    launch.start(
        Launch(
            "sampled_volume.cu",
            (("STORAGE", STORAGE[maps.dtype]), ("SIDE", 2 * radius + 1), ("FIXED", int(fixed))),
            kernel,
            -(-sizes[0] * sizes[4] * sizes[5] // pixels),
            (32, pixels),
            (*arguments, np.int64(sizes[0]), *(np.int32(size) for size in sizes[1:])),
            pixels * _bytes_per_pixel(kernel, radius, sizes[6]),
        )
    )


def _fits(kernel: str, first: Tensor, second: Tensor, radius: int, dilation: int) -> bool:
    """Whether there is a kernel: single coordinates are 32-bit numbers there (products of them are not)."""
    furthest = 2 * (sum(second.shape[2:]) + radius * dilation + 2)
    return (
        first.dtype in STORAGE
        and first.numel() > 0
        and max(furthest, *first.shape[1:]) < 2**31
        and pixels_per_block(kernel, radius, dilation) > 0
    )


def sampled_volume(first: Tensor, second: Tensor, flow: Tensor, *numbers: int) -> Tensor:
    """See definition.sampled_volume."""
    radius, dilation, stride, absolute = numbers
    kernel = "sampled_difference" if absolute else "sampled_correlation"
    if not _fits(kernel, first, second, radius, dilation):
        return definition.sampled_volume(first, second, flow, *numbers)
    batch, channels, rows, columns = first.shape
    volume = first.new_empty(batch, (2 * radius + 1) ** 2, rows, columns)
    maps = (_pixels_first(first), _pixels_first(second.to(first.dtype)))
    sizes = (batch, channels, *second.shape[2:], rows, columns, dilation, stride)
    _launch(kernel, first, False, (*maps, flow.to(torch.float32).contiguous(), volume), sizes, radius)
    return volume


def sampled_volume_backward(
    gradient: Tensor, first: Tensor, second: Tensor, flow: Tensor, *numbers: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See definition.sampled_volume_backward.

    The gradient to `second` is summed by atomics, in an order that changes from run to run; after
    `torch.use_deterministic_algorithms(True)` in 64-bit fixed point, whose sums do not depend on it.
    """
    radius, dilation, stride, absolute = numbers
    kernel = "difference_backward" if absolute else "correlation_backward"
    if not _fits(kernel, first, second, radius, dilation):
        return definition.sampled_volume_backward(gradient, first, second, flow, *numbers)
    batch, channels, rows, columns = first.shape
    gradient = gradient.to(first.dtype).contiguous()
    maps = (_pixels_first(first), _pixels_first(second.to(first.dtype)))
    inputs = (gradient, *maps, flow.to(torch.float32).contiguous())
    exact = torch.are_deterministic_algorithms_enabled()
    scale, poison = _fixed_scale(gradient, first, bool(absolute)) if exact else (None, None)
    to_first = torch.empty_like(inputs[1])
    to_second = torch.zeros_like(inputs[2], dtype=torch.int64 if exact else torch.float32)
    to_flow = torch.empty_like(inputs[3])
    sizes = (batch, channels, *second.shape[2:], rows, columns, dilation, stride)
    _launch(kernel, first, exact, (*inputs, to_first, to_second, to_flow, scale), sizes, radius)
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
