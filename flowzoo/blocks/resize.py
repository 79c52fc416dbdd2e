"""Network input sizes, and flow that stays right when it is resized.

Convention: half-pixel centres (`align_corners=False`) unless a function says otherwise; flow is (B,2,H,W), x then y.
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators import native, native_call
from flowzoo.operators.registration import in_plain_torch, is_traced
from flowzoo.operators.weighted_sums import weighted_sums

_FEW_CHANNELS = 3
"""PyTorch enlarges so few three times as fast in planes of their own."""

Size = tuple[int, int]
"""(height, width) in pixels."""


def round_up(size: Size, multiple: int) -> Size:
    """`size` with each side rounded up to a multiple."""
    height, width = size
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def ratio(side: int, other: int) -> float:
    """side / other; of equal sides it is the number 1 also where sides are symbols of a traced program."""
    return 1.0 if side == other else side / other


def resize(maps: Tensor, size: Size) -> Tensor:
    """(B,C,h,w) -> (B,C,*size), bilinear with half-pixel centres; the input itself where the size is right."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if maps.shape[0] == 0:
        return maps.new_empty((0, maps.shape[1], *size))
    if maps.is_cpu and maps.shape[1] <= _FEW_CHANNELS and not is_traced():
        maps = maps.contiguous()
        kept = [before == after for before, after in zip(maps.shape[-2:], size, strict=True)]
        if any(kept) and _has_kernel(maps):
            axis = 2 + kept.index(False)
            return weighted_sums(maps, axis, *_between_centres(maps.shape[axis], size[axis - 2]))
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _has_kernel(maps: Tensor) -> bool:
    """Whether `weighted_sums` is faster along one axis than PyTorch, which goes along both."""
    inferred = not torch.is_grad_enabled() and not in_plain_torch() and maps.dtype == torch.float32
    return inferred and native_call.suits(maps) and native.library() is not None


@functools.lru_cache(maxsize=64)
def _between_centres(before: int, after: int) -> tuple[Tensor, Tensor]:
    """Indices and weights (2,after) of pixels whose centres lie around those of a row of `after` pixels."""
    place = ((np.arange(after) + 0.5) * (before / after) - 0.5).clip(min=0)
    low = np.floor(place).astype(np.int32)
    index = np.stack([low, np.minimum(low + 1, before - 1)])
    share = (place - low).astype(np.float32)
    return torch.from_numpy(index), torch.from_numpy(np.stack([1 - share, share]))


def resize_corners(maps: Tensor, size: Size) -> Tensor:
    """(B,C,h,w) -> (B,C,*size), bilinear with aligned corners; the input itself where the size is right.

    A place is a ratio of whole numbers, so its weights are exact. PyTorch multiplies in float32, which is off by
    1e-5 of a cell far from the corner, and runtimes of exported networks are off in other ways.
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    exact = maps.to(torch.promote_types(maps.dtype, torch.float32))
    for axis in (3, 2):
        exact = _between_corners(exact, axis, size[axis - 2])
    return exact.to(maps.dtype)


def _between_corners(maps: Tensor, axis: int, length: int) -> Tensor:
    before = maps.shape[axis]
    if before == length:
        return maps
    steps = max(length - 1, 1)
    place = torch.arange(length, device=maps.device) * (before - 1)
    low = place // steps
    shape = [1, 1, 1, 1]
    shape[axis] = length
    share = ((place - low * steps).to(maps.dtype) / steps).view(shape)
    near, far = (maps.index_select(axis, index) for index in (low, (low + 1).clamp(max=before - 1)))
    return torch.lerp(near, far, share)


def scale_flow(flow: Tensor, x_factor: float, y_factor: float) -> Tensor:
    """Flow with x and y multiplied by their own factors."""
    if x_factor == y_factor:
        return flow if x_factor == 1 else flow * x_factor
    # No tensor of the factors, which would have to be copied to the device.
    return torch.cat([flow[:, :1] * x_factor, flow[:, 1:] * y_factor], dim=1)
