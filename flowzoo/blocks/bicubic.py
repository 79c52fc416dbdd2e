"""Bicubic resizing exactly as MATLAB's imresize does it: the low resolution of published super-resolution data.

PyTorch's and OpenCV's bicubic kernels have a = -0.75 and do not widen when they shrink; PyTorch's antialiased one has
the right kernel but weighs borders anew.
"""

import functools
import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from flowzoo.errors import InputError

Scale = Fraction | int


def resize_bicubic(images: Tensor, scale: Scale) -> Tensor:
    """MATLAB's `imresize(images, scale, 'bicubic')` on values, not on bytes: nothing is rounded or clamped.

    Rows are resized first, then columns. Borders repeat mirrored, with the border pixel twice.

    Args:
        images: (...,H,W) float.
        scale: output size over input size, exact: `Fraction(1, 4)`, `4`.

    Returns:
        (...,ceil(H*scale),ceil(W*scale)) of the same type.

    Raises:
        InputError: no float images, an empty image, or a scale that is not positive.
    """
    scale = Fraction(scale)
    if not images.is_floating_point() or images.dim() < 2 or 0 in images.shape[-2:]:
        raise InputError(f"images must be float (...,H,W) with H, W >= 1, got {images.dtype} {tuple(images.shape)}")
    if scale <= 0:
        raise InputError(f"scale must be above 0, got {scale}")
    tall = apply_taps(images, *bicubic_taps(images.shape[-2], scale), dim=-2)
    return apply_taps(tall, *bicubic_taps(images.shape[-1], scale), dim=-1)


@functools.lru_cache(maxsize=64)
def bicubic_taps(size: int, scale: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """For each output pixel of a side the input pixels it is made of, and their weights, both (out,taps)."""
    count = math.ceil(size * scale)
    shrink = min(float(scale), 1.0)
    centre = (np.arange(count) + 0.5) / float(scale) - 0.5
    support = 4 / shrink
    taps = math.ceil(support) + 2
    places = np.floor(centre - support / 2)[:, None] + np.arange(taps)
    weights = cubic((centre[:, None] - places) * shrink)
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.flatnonzero(weights.any(axis=0))
    indices = mirrored(places[:, used].astype(np.int64), size)
    return indices, weights[:, used]


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def mirrored(places: np.ndarray, size: int) -> np.ndarray:
    """Indices beyond the border, reflected about the border itself: -1 is 0, `size` is `size` - 1."""
    places = places % (2 * size)
    return np.where(places < size, places, 2 * size - 1 - places)


def apply_taps(images: Tensor, indices: np.ndarray, weights: np.ndarray, dim: int) -> Tensor:
    """Along `dim` (-1 or -2): every output is the sum of the input pixels of its row of `indices` times `weights`."""
    index = torch.from_numpy(indices).to(images.device)
    weight = torch.from_numpy(weights).to(images.device, images.dtype)
    total = torch.zeros((), dtype=images.dtype, device=images.device)
    for tap in range(indices.shape[1]):
        share = weight[:, tap] if dim == -1 else weight[:, tap].view(-1, 1)
        total = total + images.index_select(dim, index[:, tap]) * share
    return total
