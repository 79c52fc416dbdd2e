"""Sample arguments of every registered operator, and calls of the public ones: one entry each covers a new operator."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowzoo import operators
from flowzoo.operators.lookup import definition as lookup_definition

Arguments = tuple[object, ...]


class Sizes:
    """Random tensors of one batch, height, width and dtype."""

    def __init__(self, batch: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> None:
        self.batch, self.height, self.width, self.dtype = batch, height, width, dtype

    def maps(self, channels: int, scale: int = 1) -> Tensor:
        """(B,channels,scale*H,scale*W)."""
        shape = self.batch, channels, scale * self.height, scale * self.width
        return torch.randn(*shape, dtype=self.dtype, requires_grad=True)

    def flow(self, pairs: int = 1) -> Tensor:
        """(B,2*pairs,H,W) whose fractions stay within [0.2, 0.8]: no kinks inside a finite difference."""
        shape = self.batch, 2 * pairs, self.height, self.width
        flow = (2 * torch.randn(*shape, dtype=self.dtype)).floor() + 0.2 + 0.6 * torch.rand(*shape, dtype=self.dtype)
        return flow.requires_grad_()

    def positive(self, channels: int) -> Tensor:
        """(B,channels,H,W) in 0.5..1.5."""
        return torch.rand(self.batch, channels, self.height, self.width, dtype=self.dtype) + 0.5


def _lookup(s: Sizes) -> Arguments:
    second = torch.randn(s.batch, 3, 5, 6, dtype=s.dtype)
    table = lookup_definition.packed(second, 2).requires_grad_()
    return s.maps(3), table, s.flow(), 5, 6, 1, 2


def _deform(s: Sizes) -> Arguments:
    """Two groups of two channels, four taps."""
    weight = torch.randn(3, 4, 4, dtype=s.dtype, requires_grad=True)
    bias = torch.randn(3, dtype=s.dtype, requires_grad=True)
    return s.maps(4), s.flow(8), weight, bias, s.positive(8).requires_grad_(), 2, [1, 1], [1, 0], [1, 2], False


def _pairs(s: Sizes) -> Tensor:
    maps = torch.randn(2 * s.batch, s.height, s.width, 17, dtype=s.dtype)
    return maps.permute(0, 3, 1, 2).requires_grad_()


def _system(s: Sizes) -> Tensor:
    return torch.cat([s.positive(1), s.positive(1) - 1, s.positive(1), s.maps(2).detach(), s.positive(2)], dim=1)


def _greys(s: Sizes) -> tuple[Tensor, Tensor]:
    return 100 * s.positive(1), 100 * s.positive(1)


def _without_bias(arguments: Arguments) -> Arguments:
    return *arguments[:3], *arguments[4:]


SAMPLES: dict[str, Callable[[Sizes], list[Arguments]]] = {
    "correlate": lambda s: [(s.maps(3), s.maps(3), 1, 2, 0.5)],
    "gather": lambda s: [(s.maps(9), s.maps(3), 1, 2, 0.5)],
    "scatter": lambda s: [(s.maps(9), s.maps(3), 1, 2, 0.5)],
    "sampled_volume": lambda s: [
        (s.maps(3), s.maps(3), s.flow(), 1, dilation, 1, absolute) for dilation, absolute in ((1, False), (2, True))
    ],
    "sampled_volume_backward": lambda s: [
        (s.maps(9), s.maps(3), s.maps(3), s.flow(), 1, dilation, 1, absolute)
        for dilation, absolute in ((1, False), (2, True))
    ],
    "splat": lambda s: [(s.maps(3), s.flow())],
    "convex_upsampling": lambda s: [(s.flow(), s.maps(36), 2)],
    "convex_upsampling_backward": lambda s: [(s.maps(2, scale=2), s.flow(), s.maps(36), 2)],
    "lookup": lambda s: [_lookup(s)],
    "lookup_backward": lambda s: [(s.maps(18), *_lookup(s), True)],
    "deform": lambda s: [_deform(s)],
    "deform_backward": lambda s: [(s.maps(3), *_without_bias(_deform(s)))],
    "relaxation": lambda s: [(_system(s), s.flow().detach(), 3, 1.6)],
    "variational_data": lambda s: [(*_greys(s), s.flow().detach(), 0.1, 10.0, 0.1)],
    "variational_system": lambda s: [
        (s.positive(11), s.positive(2), s.flow().detach(), s.positive(2), 30.0, 1.0, 10.0, 0.01)
    ],
    "flow_reliability": lambda s: [(*_greys(s), s.flow().detach(), 10.0, 0.1)],
    "variational_step": lambda s: [
        (*_greys(s), s.positive(2), s.flow().detach(), 0.1, 10.0, 0.1, 30.0, 1.0, 10.0, 0.01, sweeps, 1.9, 1.0)
        for sweeps in (0, 3)
    ],
    "decoder_input": lambda s: [
        (s.maps(9), s.maps(3), s.maps(2), 0.1, 2.0),
        (s.maps(17), s.maps(32), s.maps(1), 0.5, 1),
    ],
    "density_reading": lambda s: [
        (3 * s.maps(9).detach(),),
        (3 * s.maps(81).detach().contiguous(memory_format=torch.channels_last),),
    ],
    "paired_planes": lambda s: [(_pairs(s),)],
    "smoothed_greys": lambda s: [(s.positive(3), weights) for weights in ([0.2, 0.1, 0.3, 0.3, 0.1], [1.0])],
    "contrasts": lambda s: [(100 * s.positive(3),)],
    "area_means": lambda s: [
        (s.maps(2).detach(), (s.height + 1) // 2, (s.width + 1) // 2),
        (s.maps(2, scale=2).detach(), s.height, s.width),
        (s.maps(2).detach(), 3, s.width + 2),
    ],
    "boundary_median": lambda s: [(100 * s.positive(3), s.flow().detach(), s.positive(1), 3, 2.0, 10.0)],
}
"""Registered name -> lists of arguments. Tensors come first, then numbers."""

FIRST_DERIVATIVES = ("sampled_volume_backward",)
"""Operators that are derivatives and have only one more; others have two."""

SUMS_BY_THREAD = ("sampled_volume_backward",)
"""Operators that add up every thread's share, so that the number of threads changes the last bits."""

PUBLIC: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "correlation": lambda a, b, f: operators.correlation(a, b, 2),
    "correlation, stride 2": lambda a, b, f: operators.correlation(a, b, 1, 2, 2),
    "transpose": lambda a, b, f: operators.correlation_transpose(operators.correlation(a, b, 1), b, 1),
    "sampled": lambda a, b, f: operators.sampled_cost_volume(a, b, f, 1),
    "sampled sad": lambda a, b, f: operators.sampled_cost_volume(a, b, f, 1, 1, 2, "sad"),
    "splat": lambda a, b, f: operators.splat(a, f),
    "local convolution": lambda a, b, f: operators.local_convolution(a, operators.correlation(a, b, 1), 3),
    "deform": lambda a, b, f: operators.deform(a, f, b[:1, :, :1, :1]),
    "convex upsampling": lambda a, b, f: operators.convex_upsampling(f, a.repeat(1, 12, 1, 1), 2),
}
"""Public operators of (B,3,H,W) maps a and b and (B,2,H,W) flow f. `warp` is torch's grid_sample, tested with it."""

KEEP_TYPES = ("convex upsampling",)
"""Those of them that autocast leaves alone."""
