"""The two resampling layers of LiteFlowNet's Caffe: `Resample` (LINEAR) and `Downsample`.

Both are separable: every output row or column is a short weighted sum of input ones, with weights that add up to 1.
"""

import math

import torch
from torch import Tensor

from flowzoo.blocks.resize import Size


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
    y_taps = _triangle_taps(height, size[0], y_factor, x_factor / 2 - 0.5, y_factor if shrinks else 1.0)
    x_taps = _triangle_taps(width, size[1], x_factor, y_factor / 2 - 0.5, x_factor if shrinks else 1.0)
    return _apply(_apply(maps, 2, *y_taps), 3, *x_taps)


def downsample(maps: Tensor, size: Size) -> Tensor:
    """(B,C,h,w) -> (B,C,*size) as Caffe's Downsample layer does it: corner-aligned, antialiased by a triangle.

    An axis that shrinks to one pixel takes the mean, the limit of an ever wider triangle.
    """
    for axis, outputs in ((2, size[0]), (3, size[1])):
        inputs = maps.shape[axis]
        if inputs == outputs:
            continue
        if outputs == 1:
            maps = maps.mean(axis, keepdim=True)
        else:
            factor = (inputs - 1) / (outputs - 1)
            maps = _apply(maps, axis, *_triangle_taps(inputs, outputs, factor, 0.0, factor))
    return maps


def _triangle_taps(inputs: int, outputs: int, factor: float, offset: float, width: float) -> tuple[Tensor, Tensor]:
    """Indices (taps, outputs) and weights of a triangle of half-width `width` around i * factor + offset."""
    width = max(width, 1e-6)
    centre = torch.arange(outputs, dtype=torch.float64) * factor + offset
    reach = math.ceil(width)
    index = torch.round(centre).long() + torch.arange(-reach, reach + 1).view(-1, 1)
    weight = (1 - (index - centre).abs() / width).clamp(min=0)
    weight = weight * ((index >= 0) & (index < inputs))
    # A triangle narrower than a pixel can miss them all; the nearest pixel then stands for the sum.
    empty = weight.sum(0) == 0
    weight[reach] = torch.where(empty, torch.ones_like(weight[reach]), weight[reach])
    used = weight.amax(1) > 0
    index, weight = index[used], weight[used]
    return index.clamp(0, inputs - 1), weight / weight.sum(0)


def _apply(maps: Tensor, axis: int, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of the rows or columns `index` (taps, outputs) of `maps`."""
    index, weight = index.to(maps.device), weight.to(maps.device, maps.dtype)
    if axis == 3:
        # Picking whole rows is several times faster than picking single pixels out of each row.
        return _weighted_rows(maps.transpose(2, 3).contiguous(), index, weight).transpose(2, 3)
    return _weighted_rows(maps.contiguous(), index, weight)


def _weighted_rows(maps: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    total = maps.index_select(2, index[0]) * weight[0].view(-1, 1)
    for tap_index, tap_weight in zip(index[1:], weight[1:], strict=True):
        total = total.add_(maps.index_select(2, tap_index) * tap_weight.view(-1, 1))
    return total
