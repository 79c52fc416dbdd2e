"""The two resampling layers of LiteFlowNet's Caffe: `Resample` (LINEAR) and `Downsample`.

Both are separable: every output row or column is a short weighted sum of input ones, with weights that add up to 1.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.blocks.convolution import untraced_inference
from flowzoo.blocks.resize import Size
from flowzoo.operators.weighted_sums import weighted_sums

LEAST = 1e-6
"""Half-width of the narrowest triangle, pixels."""


def resample(maps: Tensor, size: Size) -> Tensor:
    """(B,C,h,w) -> (B,C,*size) as Caffe's Resample layer does it, its swapped half-pixel offsets included.

    With f = input side / output side, output pixel i reads around i * f + f' / 2 - 0.5 where f' is the *other*
    axis' factor. The filter is a triangle, narrow when both axes grow and widened by f when either shrinks.
    """
    height, width = maps.shape[-2:]
    if (height, width) == tuple(size):
        return maps
    y_factor, x_factor = height / size[0], width / size[1]
    shrinks = x_factor > 1 or y_factor > 1
    y_taps = _Taps(height, size[0], y_factor, x_factor / 2 - 0.5, y_factor if shrinks else 1.0)
    x_taps = _Taps(width, size[1], x_factor, y_factor / 2 - 0.5, x_factor if shrinks else 1.0)
    return _apply(_apply(maps, 2, y_taps), 3, x_taps)


def downsample(maps: Tensor, size: Size) -> Tensor:
    """(B,C,h,w) -> (B,C,*size) as Caffe's Downsample layer does it: corner-aligned, antialiased by a triangle.

    An axis that shrinks to one pixel takes the mean, the limit of an ever wider triangle.
    """
    for axis, outputs in ((2, size[0]), (3, size[1])):
        inputs = maps.shape[axis]
        if inputs == outputs:
            continue
        if torch.compiler.is_compiling():
            ends = [torch.arange(side, dtype=torch.float64, device=maps.device).amax(0) for side in (inputs, outputs)]
            wide = ends[0] / ends[1].clamp(min=1e-9)  # of one pixel: so wide that all inputs weigh the same
            maps = _by_matrix(maps, axis, _triangles(inputs, outputs, wide, 0.0, wide, maps.device))
        elif outputs == 1:
            maps = maps.mean(axis, keepdim=True)
        else:
            factor = (inputs - 1) / (outputs - 1)
            maps = _apply(maps, axis, _Taps(inputs, outputs, factor, 0.0, factor))
    return maps


class _Taps(NamedTuple):
    """What each output pixel of an axis is made of: a triangle of half-width `width` around i * factor + offset."""

    inputs: int
    outputs: int
    factor: float
    offset: float
    width: float

    def on(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Indices (taps, outputs) and weights, made on the device: copying them there would hold everything up."""
        first, last = _used(self)
        centre = torch.arange(self.outputs, dtype=torch.float64, device=device) * self.factor + self.offset
        steps = torch.arange(first, last + 1, device=device).view(-1, 1)
        index = torch.round(centre).long() + steps
        weight = (1 - (index - centre).abs() / max(self.width, LEAST)).clamp(min=0)
        weight = weight * ((index >= 0) & (index < self.inputs))
        # A triangle narrower than a pixel can miss them all; the nearest pixel then stands for the sum.
        empty = (weight.sum(0) == 0) & (steps == 0)
        weight = torch.where(empty, torch.ones_like(weight), weight)
        return index.clamp(0, self.inputs - 1), weight / weight.sum(0)


@functools.lru_cache(maxsize=256)
def _used(taps: _Taps) -> tuple[int, int]:
    """The first and the last step from the pixel nearest to the middle that has a weight anywhere."""
    width = max(taps.width, LEAST)
    centre = np.arange(taps.outputs) * taps.factor + taps.offset
    steps = np.arange(-math.ceil(width), math.ceil(width) + 1)[:, None]
    index = np.round(centre).astype(np.int64) + steps
    weight = (1 - np.abs(index - centre) / width).clip(min=0) * ((index >= 0) & (index < taps.inputs))
    used = steps[(weight > 0).any(axis=1)]
    return min(used.min(initial=0).item(), 0), max(used.max(initial=0).item(), 0)


def _apply(maps: Tensor, axis: int, taps: _Taps) -> Tensor:
    """Weighted sums of the rows (axis 2) or columns (axis 3) of `maps`."""
    if torch.compiler.is_compiling():
        width = max(taps.width, LEAST)
        return _by_matrix(
            maps, axis, _triangles(taps.inputs, taps.outputs, taps.factor, taps.offset, width, maps.device)
        )
    index, weight = taps.on(maps.device)
    weight = weight.to(maps.dtype)
    beside = taps.factor == 1 and abs(taps.offset) < 0.5  # the nearest pixel is the one at the same place
    if beside and not untraced_inference(maps):
        return _weighted_neighbours(maps, axis, _used(taps)[0], weight)
    return weighted_sums(maps, axis, index, weight)


def _weighted_neighbours(maps: Tensor, axis: int, first: int, weight: Tensor) -> Tensor:
    """Weighted sums where output i is made of the pixels i + first, i + first + 1, ..., edges replicated."""
    side, behind = maps.shape[axis], max(0, first + len(weight) - 1)
    ends = (-first, behind, 0, 0) if axis == 3 else (0, 0, -first, behind)
    padded = F.pad(maps, ends, mode="replicate")
    weight = weight.view(len(weight), *([side] if axis == 3 else [side, 1]))
    total = padded.narrow(axis, 0, side) * weight[0]
    for step in range(1, len(weight)):
        total = total.addcmul_(padded.narrow(axis, step, side), weight[step])
    return total


def _triangles(
    inputs: int,
    outputs: int,
    factor: float | Tensor,
    offset: float,
    width: float | Tensor,
    device: torch.device,
) -> Tensor:
    """The weights of `_Taps` as one matrix (outputs, inputs), for programs whose sizes are symbols."""
    centre = (torch.arange(outputs, dtype=torch.float64, device=device) * factor + offset).view(-1, 1)
    place = torch.arange(inputs, dtype=torch.float64, device=device)
    weight = (1 - (place - centre).abs() / width).clamp(min=0)
    nearest = torch.round(centre).clamp(min=0).minimum(place.amax(0)) == place
    weight = torch.where(weight.sum(1, keepdim=True) == 0, nearest.to(weight.dtype), weight)
    return weight / weight.sum(1, keepdim=True)


def _by_matrix(maps: Tensor, axis: int, weight: Tensor) -> Tensor:
    weight = weight.to(maps.dtype)
    return weight @ maps if axis == 2 else maps @ weight.t()
