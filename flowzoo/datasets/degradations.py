"""How low-resolution frames are made from high-resolution ones, as the published data sets and codes do it.

- BI: MATLAB's bicubic, of the values as doubles, rounded to 8 bits at the end (REDS, Vimeo-90K, Vid4).
- BD: Gaussian blur of sigma 1.6, then every fourth pixel. Two forms with different phases are in use: "centred"
  (mmagic; a sample lies in the middle of its 4x4 pixels, as with bicubic) and "corner" (DUF, BasicSR; on its first
  pixel).
"""

from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from flowzoo.blocks.bicubic import apply_taps, resize_bicubic
from flowzoo.errors import InputError

BLUR = 1.6
"""Standard deviation of BD's Gaussian, pixels of the large frame."""
Phase = Literal["centred", "corner"]
Degradation = Literal["bicubic", "blur-centred", "blur-corner"]


def crop_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """(...,H,W) without the last rows and columns that do not fill a multiple."""
    height, width = images.shape[-2:]
    return images[..., : height - height % multiple, : width - width % multiple]


def bicubic_down(images: Tensor, scale: int = 4) -> Tensor:
    """BI: (...,H,W) float -> (...,ceil(H/scale),ceil(W/scale)), not rounded and not clamped."""
    return resize_bicubic(images, Fraction(1, scale))


def blur_down(images: Tensor, scale: int = 4, phase: Phase = "centred") -> Tensor:
    """BD: (...,H,W) float -> (...,H//scale,W//scale), not rounded; cut to multiples of `scale` first.

    Args:
        images: the large frames.
        scale: of which the published forms know 4 only.
        phase: "centred": 12 taps around the middle of each block of pixels, border pixels repeated; "corner": 13 taps
            around each block's first pixel, borders reflected without the border pixel itself.

    Raises:
        InputError: an unknown phase, or a frame too small for its border rule.
    """
    if phase not in ("centred", "corner"):
        raise InputError(f"phase must be 'centred' or 'corner', got {phase!r}")
    images = crop_to_multiple(images, scale)
    least = scale if phase == "centred" else 7
    if min(images.shape[-2:]) < least:
        raise InputError(f"frames of {images.shape[-1]}x{images.shape[-2]} are too small: at least {least} a side")
    for dim in (-2, -1):
        images = apply_taps(images, *_blur_taps(images.shape[dim], scale, phase), dim=dim)
    return images


def _blur_taps(size: int, scale: int, phase: Phase) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights (size//scale, taps) of the blurred samples along a side."""
    first = np.arange(size // scale)[:, None] * scale
    if phase == "centred":
        distance = np.arange(12) - 5.5
        places = np.clip(first + scale // 2 - 6 + np.arange(12), 0, size - 1)
    else:
        distance = np.arange(13.0) - 6
        places = np.abs(first - 6 + np.arange(13))
        places = np.where(places >= size, 2 * (size - 1) - places, places)
    weights = np.exp(-(distance**2) / (2 * BLUR**2))
    weights /= weights.sum()
    return places, np.broadcast_to(weights, places.shape).copy()


def degrade(images: Tensor, kind: Degradation = "bicubic", scale: int = 4) -> Tensor:
    """`images` (...,H,W), 0..1, cut to multiples of `scale`, as 8-bit frames of 1/scale of the size hold them, 0..1.

    Raises:
        InputError: an unknown kind.
    """
    images = crop_to_multiple(images, scale)
    if kind == "bicubic":
        small = bicubic_down(images, scale)
    elif kind in ("blur-centred", "blur-corner"):
        small = blur_down(images, scale, "centred" if kind == "blur-centred" else "corner")
    else:
        raise InputError(f"no degradation {kind!r}: known are bicubic, blur-centred, blur-corner")
    return to_8bit(small).to(images.dtype) / 255


def to_8bit(images: Tensor) -> Tensor:
    """0..1 float -> uint8: clamped, rounded half up, as MATLAB's imwrite does."""
    return (images.clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8)
