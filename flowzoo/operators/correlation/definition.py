"""Local correlation and its two transposes as plain loops over displacements: the definition of these operators.

With displacements d (dy-major, steps of `dilation`, reach radius * dilation) and zero outside every map:

    correlate(first, second)[d, p] = scale * sum_c first[c, p] * second[c, p + d]
    gather(volume, second)[c, p]   = scale * sum_d volume[d, p] * second[c, p + d]
    scatter(volume, first)[c, q]   = scale * sum_d volume[d, q - d] * first[c, q - d]

Each is bilinear, and each one's two derivatives are the other two, so the family is closed under differentiation.
Nothing larger than one map is allocated besides the result. Half-precision inputs are computed in float32.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators.precision import working_dtype


def effective_dilation(maps: Tensor, dilation: int) -> int:
    """A dilation of at least the map's larger side sees nothing but the pixel itself, and neither does a larger one."""
    return dilation if dilation == 1 else min(dilation, max(maps.shape[2:]))


def _windows(padded: Tensor, radius: int, dilation: int, height: int, width: int) -> Iterator[tuple[int, Tensor]]:
    """(channel index, view of `padded` displaced by it) for all displacements."""
    side = 2 * radius + 1
    for row in range(side):
        for column in range(side):
            top, left = row * dilation, column * dilation
            yield row * side + column, padded[..., top : top + height, left : left + width]


def correlate(first: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """(B,C,H,W) twice -> (B,(2r+1)^2,H,W)."""
    dtype, dilation = working_dtype(first), effective_dilation(first, dilation)
    batch, _, height, width = first.shape
    reach = radius * dilation
    base = first.to(dtype) * scale
    padded = F.pad(second.to(dtype), (reach, reach, reach, reach))
    volume = base.new_empty(batch, (2 * radius + 1) ** 2, height, width)
    product = torch.empty_like(base)
    for index, window in _windows(padded, radius, dilation, height, width):
        torch.mul(base, window, out=product)
        torch.sum(product, dim=1, out=volume[:, index])
    return volume.to(first.dtype)


def gather(volume: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """(B,(2r+1)^2,H,W) and (B,C,H,W) -> (B,C,H,W)."""
    dtype, dilation = working_dtype(second), effective_dilation(second, dilation)
    height, width = second.shape[2:]
    reach = radius * dilation
    weights = volume.to(dtype) * scale
    padded = F.pad(second.to(dtype), (reach, reach, reach, reach))
    result = torch.zeros_like(second, dtype=dtype, memory_format=torch.contiguous_format)
    for index, window in _windows(padded, radius, dilation, height, width):
        result.addcmul_(weights[:, index : index + 1], window)
    return result.to(second.dtype)


def scatter(volume: Tensor, first: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """(B,(2r+1)^2,H,W) and (B,C,H,W) -> (B,C,H,W)."""
    dtype, dilation = working_dtype(first), effective_dilation(first, dilation)
    batch, channels, height, width = first.shape
    reach = radius * dilation
    weights = volume.to(dtype) * scale
    base = first.to(dtype)
    padded = base.new_zeros(batch, channels, height + 2 * reach, width + 2 * reach)
    for index, window in _windows(padded, radius, dilation, height, width):
        window.addcmul_(weights[:, index : index + 1], base)
    return padded[..., reach : reach + height, reach : reach + width].to(first.dtype, copy=True).contiguous()


def correlate_unfolded(first: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """`correlate` as one unfold: slow and large, but few nodes in an exported graph."""
    windows = _unfolded(second, radius, dilation)
    return (_summed(first.to(windows.dtype).unsqueeze(2) * windows, 1) * scale).to(first.dtype)


def gather_unfolded(volume: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """`gather` as one unfold, for exported graphs."""
    windows = _unfolded(second, radius, dilation)
    return (_summed(volume.to(windows.dtype).unsqueeze(1) * windows, 2) * scale).to(second.dtype)


def _summed(values: Tensor, axis: int) -> Tensor:
    """The sum over `axis`, in about as many groups as one has members.

    Runtimes add one after the other, and round more the more there are, which GOCor's minimisation amplifies.
    """
    length = values.shape[axis]
    group = max(size for size in range(1, math.isqrt(length) + 1) if length % size == 0)
    groups: Tensor = values.unflatten(axis, (length // group, group))
    return groups.sum(dim=axis + 1).sum(dim=axis)


def _unfolded(maps: Tensor, radius: int, dilation: int) -> Tensor:
    """(B,C,H,W) -> (B,C,(2r+1)^2,H,W), what every pixel's window holds."""
    side = 2 * radius + 1
    columns = F.unfold(maps.to(working_dtype(maps)), side, dilation=dilation, padding=radius * dilation)
    return columns.reshape(-1, maps.shape[1], side * side, *maps.shape[2:])
