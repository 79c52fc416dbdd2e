"""`deform` and its gradients as CUDA launches (kernels/deform.cu), or portable where no kernel fits.

What the pixels read is kept for some of them at a time, and multiplied with the weights by torch's matrix product.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.deform import definition
from flowzoo.operators.deform.definition import Grid
from flowzoo.operators.launch import STORAGE, Argument, Launch

_THREADS = 256

MOST_NUMBERS = 1 << 24
"""That are read before they are multiplied: 64 MiB, enough work to fill a GPU."""

_LARGEST = 2**28
"""Pixels; beyond it coordinates, with offsets added, would not fit the kernel's 32 bits."""


def _fits(features: Tensor, offset: Tensor, where: Grid) -> bool:
    height, width = features.shape[-2:]
    furthest = max(height, width, max(*where.stride, *where.padding, *where.step, 1) * (sum(offset.shape[1:]) + 1))
    return features.dtype in STORAGE and features.numel() > 0 and offset.numel() > 0 and furthest < _LARGEST


class _Problem:
    """What the launches for one set of tensors share."""

    def __init__(
        self,
        features: Tensor,
        offset: Tensor,
        weight: Tensor,
        mask: Tensor | None,
        where: Grid,
    ) -> None:
        self.batch, self.channels, *size = features.shape
        self.taps, self.pixels = weight.shape[2], offset.shape[2] * offset.shape[3]
        self.groups = offset.shape[1] // (2 * self.taps)
        self.features = features.contiguous()
        self.offset = offset.to(torch.float32).contiguous()
        self.mask = None if mask is None else mask.to(torch.float32).contiguous()
        grid = *size, *offset.shape[2:], self.taps, *where.numbers
        self.numbers = tuple(np.int32(number) for number in (self.channels, self.groups, *grid))

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(image, first pixel, number of pixels) that are done together."""
        most = max(1, MOST_NUMBERS // (self.channels * self.taps))
        for image in range(self.batch):
            for first in range(0, self.pixels, most):
                yield image, first, min(most, self.pixels - first)

    def start(self, kernel: str, arguments: tuple[Argument, ...], first: int, count: int) -> None:
        """Launch over all taps and groups of `count` pixels."""
        blocks = -(-count * self.taps * self.groups // _THREADS)
        defines = (("STORAGE", STORAGE[self.features.dtype]),)
        every = (*arguments, *self.numbers, np.int64(first), np.int64(count))
        launch.start(Launch("deform.cu", defines, kernel, blocks, (_THREADS, 1), every))

    def inputs(self, image: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features, offset and mask of one image."""
        return self.features[image], self.offset[image], None if self.mask is None else self.mask[image]

    def values(self, image: int, first: int, count: int) -> Tensor:
        """(C*N,count): what the pixels read, times the mask."""
        values = self.offset.new_empty(self.channels * self.taps, count)
        self.start("deform_values", (*self.inputs(image), values), first, count)
        return values


def deform(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    *grid: Any,
) -> Tensor:
    """See definition.deform."""
    where = Grid(*grid)
    if not _fits(features, offset, where):
        return definition.deform(features, offset, weight, bias, mask, *grid)
    problem = _Problem(features, offset, weight, mask, where)
    weights = weight.to(torch.float32).flatten(1)
    result = problem.offset.new_empty(problem.batch, weight.shape[0], problem.pixels)
    for image, first, count in problem.runs():
        result[image, :, first : first + count] = weights @ problem.values(image, first, count)
    if bias is not None:
        result += bias.to(torch.float32).view(-1, 1)
    return result.view(problem.batch, weight.shape[0], *offset.shape[2:]).to(features.dtype)


def deform_backward(
    gradient: Tensor,
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    *grid: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See definition.deform_backward.

    The gradient to the features is summed in 64-bit fixed point, so that it is the same in every run.
    """
    where = Grid(*grid)
    if not _fits(features, offset, where):
        return definition.deform_backward(gradient, features, offset, weight, mask, *grid)
    problem = _Problem(features, offset, weight, mask, where)
    weights, incoming = weight.to(torch.float32).flatten(1), gradient.to(torch.float32).flatten(2)
    scale, poison = _fixed_scale(problem, weights, incoming)
    to_features = torch.zeros_like(problem.features, dtype=torch.int64)
    to_offset, to_weight = torch.empty_like(problem.offset), torch.zeros_like(weights)
    to_mask = None if problem.mask is None else torch.empty_like(problem.mask)
    for image, first, count in problem.runs():
        part = incoming[image, :, first : first + count]
        to_weight += part @ problem.values(image, first, count).t()
        results = to_features[image], to_offset[image], None if to_mask is None else to_mask[image]
        wanted = weights.t() @ part
        problem.start("deform_places", (wanted, *problem.inputs(image), *results, scale), first, count)
    return (
        (to_features.to(torch.float64) / scale + poison).to(features.dtype),
        to_offset.to(offset.dtype),
        to_weight.view(weight.shape).to(weight.dtype),
        features.new_empty(0) if mask is None or to_mask is None else to_mask.to(mask.dtype),
    )


def _fixed_scale(problem: _Problem, weights: Tensor, incoming: Tensor) -> tuple[Tensor, Tensor]:
    """For the gradient to the features: all pixels and taps of an image may look at one place."""
    bound = weights.abs().sum(dim=0).amax().double() * incoming.abs().amax().double()
    if problem.mask is not None:
        bound = bound * problem.mask.abs().amax().double()
    return launch.fixed_point(bound * (problem.pixels * problem.taps))
