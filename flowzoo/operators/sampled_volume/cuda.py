"""`sampled_volume` and its gradients as CUDA launches (kernels/sampled_*.cu), or portable where no kernel fits."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.launch import MOST_SHARED, STORAGE, Argument, Launch
from flowzoo.operators.sampled_volume import definition

MOST_PIXELS = 8
"""Output pixels (warps) of a block."""

TILE, HELD = 8, 32
"""Side of a block's tile of pixels, and its channels, in kernels/sampled_boxes.cuh."""

MOST_RADIUS = 5
"""Of those for which what a tile needs fits into the shared memory of a block."""

MOST_BANDS = 4
"""Warps of a block of `difference_to_second`, each of which sums two rows of a box at a time."""

WINDOWS = {
    "sampled_correlation": 1,
    "sampled_difference": 0,
    "correlation_to_first": 4,
    "difference_to_first": 0,
    "correlation_backward": 2,
    "difference_backward": 32,
}
"""Windows of floats that each kernel keeps in shared memory for a pixel, beside its costs."""


def _bytes_per_pixel(kernel: str, radius: int, dilation: int) -> int:
    side = 2 * radius + 1
    window = side + 1 if dilation == 1 else 2 * side
    return 4 * (side * side + WINDOWS[kernel] * window * window)


def pixels_per_block(kernel: str, radius: int, dilation: int, most_shared: int) -> int:
    """Warps of a block whose shared memory fits; 0 where not even one does.

    More than the shared memory that is had unasked, up to `most_shared`, is for a single one that needs it.
    """
    needed = _bytes_per_pixel(kernel, radius, dilation)
    return min(MOST_PIXELS, MOST_SHARED // needed) or int(needed <= most_shared)


def bands_per_block(radius: int) -> tuple[int, int]:
    """Warps of a block of `difference_to_second`, and its bytes of shared memory."""
    places_and_gradients = 4 * TILE * TILE * (4 + (2 * radius + 1) ** 2)
    box_columns = -(-(2 * radius + 2 + TILE - 1) // 8) * 8
    band = 4 * 2 * box_columns * HELD
    bands = min(MOST_BANDS, (MOST_SHARED - places_and_gradients) // band)
    return bands, places_and_gradients + bands * band


def _pixels_first(maps: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,H,W,C), contiguous, C filled up with zeros to a multiple of four that loads of four can read."""
    turned = maps.permute(0, 2, 3, 1)
    if maps.shape[1] % 4:
        turned = F.pad(turned, (0, -maps.shape[1] % 4))
    turned = turned.contiguous()
    return turned if turned.data_ptr() % (4 * turned.element_size()) == 0 else turned.clone()


class _Problem:
    """The numbers of a sampled volume that its kernels are given."""

    def __init__(self, first: Tensor, second: Tensor, numbers: tuple[int, ...]) -> None:
        self.radius, self.dilation, self.stride, self.absolute = numbers
        self.batch, self.channels, self.rows, self.columns = first.shape
        self.sides, self.dtype, self.device = second.shape[2:], first.dtype, first.device

    def fits(self, kernel: str) -> bool:
        """Whether there is a kernel: single coordinates are 32-bit numbers there (products of them are not)."""
        furthest = 2 * (sum(self.sides) + self.radius * self.dilation + 2)
        sizes = self.channels, self.rows, self.columns
        return self.dtype in STORAGE and max(furthest, *sizes) < 2**31 - 4 and self.pixels_per_block(kernel) > 0

    def pixels_per_block(self, kernel: str) -> int:
        return pixels_per_block(kernel, self.radius, self.dilation, launch.most_shared(self.device))

    def in_boxes(self) -> bool:
        """Whether the gradient to the second map is summed in boxes before it is added to memory."""
        return self.dilation == 1 and self.radius <= MOST_RADIUS

    def start_by_pixels(self, source: str, kernel: str, arguments: tuple[Argument, ...], fixed: bool = False) -> None:
        """Start a kernel that has a warp for each pixel."""
        warps = self.pixels_per_block(kernel)
        blocks = -(-self.batch * self.rows * self.columns // warps)
        shared = warps * _bytes_per_pixel(kernel, self.radius, self.dilation)
        self._start(source, kernel, blocks, (32, warps), arguments, fixed, shared)

    def start_by_tiles(self, source: str, kernel: str, arguments: tuple[Argument, ...], fixed: bool) -> None:
        """Start a kernel that has a block for each tile of pixels and HELD channels."""
        tiles = self.batch * -(-self.rows // TILE) * -(-self.columns // TILE)
        warps, shared = bands_per_block(self.radius) if self.absolute else (8, 0)
        self._start(source, kernel, tiles * -(-self.channels // HELD), (32, warps), arguments, fixed, shared)

    def _start(
        self,
        source: str,
        kernel: str,
        blocks: int,
        threads: tuple[int, int],
        arguments: tuple[Argument, ...],
        fixed: bool,
        shared: int,
    ) -> None:
        dilation = (self.dilation,) if source == "sampled_volume.cu" else ()
        sizes = -(-self.channels // 4) * 4, *self.sides, self.rows, self.columns, *dilation, self.stride
        share = np.float32(1 / self.channels)
        values: tuple[Argument, ...] = (np.int64(self.batch), *(np.int32(size) for size in sizes), share)
        defines = ("STORAGE", STORAGE[self.dtype]), ("SIDE", 2 * self.radius + 1), ("FIXED", int(fixed))
        launch.start(Launch(source, defines, kernel, blocks, threads, (*arguments, *values), shared))


def sampled_volume(first: Tensor, second: Tensor, flow: Tensor, *numbers: int) -> Tensor:
    """See definition.sampled_volume."""
    problem = _Problem(first, second, numbers)
    kernel = "sampled_difference" if problem.absolute else "sampled_correlation"
    if first.numel() == 0 or not problem.fits(kernel):
        return definition.sampled_volume(first, second, flow, *numbers)
    volume = first.new_empty(problem.batch, (2 * problem.radius + 1) ** 2, problem.rows, problem.columns)
    maps = _pixels_first(first), _pixels_first(second.to(first.dtype))
    arguments = *maps, flow.to(torch.float32).contiguous(), volume
    problem.start_by_pixels("sampled_volume.cu", kernel, arguments)
    return volume


def sampled_volume_backward(
    gradient: Tensor, first: Tensor, second: Tensor, flow: Tensor, *numbers: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See definition.sampled_volume_backward.

    The gradient to `second` is summed by atomics, in an order that changes from run to run; after
    `torch.use_deterministic_algorithms(True)` in 64-bit fixed point, whose sums do not depend on it.
    """
    problem = _Problem(first, second, numbers)
    kernel = "difference_backward" if problem.absolute else "correlation_backward"
    if first.numel() == 0 or not problem.fits(kernel):
        return definition.sampled_volume_backward(gradient, first, second, flow, *numbers)
    gradient = gradient.to(first.dtype).contiguous()
    maps = _pixels_first(first), _pixels_first(second.to(first.dtype))
    looks = flow.to(torch.float32).contiguous()
    exact = torch.are_deterministic_algorithms_enabled()
    scale, poison = _fixed_scale(gradient, first, bool(problem.absolute)) if exact else (None, None)
    to_first = torch.empty_like(maps[0])
    to_second = torch.zeros_like(maps[1], dtype=torch.int64 if exact else torch.float32)
    to_flow = torch.empty_like(looks)
    if problem.in_boxes():
        source = "sampled_difference_gradient.cu" if problem.absolute else "sampled_gradient.cu"
        measure = "difference" if problem.absolute else "correlation"
        read = maps if problem.absolute else maps[:1]
        by_pixel = gradient, *maps, looks, to_first, to_flow
        problem.start_by_pixels(source, f"{measure}_to_first", by_pixel, exact)
        problem.start_by_tiles(source, f"{measure}_to_second", (gradient, *read, looks, to_second, scale), exact)
    else:
        arguments = gradient, *maps, looks, to_first, to_second, to_flow, scale
        problem.start_by_pixels("sampled_volume.cu", kernel, arguments, exact)
    if scale is not None and poison is not None:
        to_second = to_second.to(torch.float64) / scale + poison
    return (
        _channels_first(to_first, first),
        _channels_first(to_second, second),
        to_flow.to(flow.dtype),
    )


def _channels_first(pixels: Tensor, like: Tensor) -> Tensor:
    """(B,H,W,C) -> (B,C,H,W) in the type of `like`, contiguous, without the channels that filled up."""
    return pixels[..., : like.shape[1]].permute(0, 3, 1, 2).to(like.dtype).contiguous()


def _fixed_scale(gradient: Tensor, first: Tensor, absolute: bool) -> tuple[Tensor, Tensor]:
    """The fixed-point scale for the gradient to the second map: all pixels of an image may look at one place."""
    bound = gradient.abs().amax().double() * (gradient.shape[2] * gradient.shape[3]) / first.shape[1]
    return launch.fixed_point(bound if absolute else bound * first.abs().amax().double())
