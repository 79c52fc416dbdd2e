"""Crops, flips and transposition of a clip's small frames, its large frame and its flows, all alike."""

import numpy as np
import torch
from torch import Tensor

from flowzoo.errors import InputError

Clip = tuple[Tensor, Tensor, Tensor]


def crop_clip(clip: Clip, rng: np.random.Generator, size: int, scale: int = 4) -> Clip:
    """A random square of `size` pixels of the small frames (T,3,h,w) and what belongs to it.

    Args:
        clip: small frames, large frame or frames (...,H,W), flows (T-1,2,h,w) in pixels of the small frames.
        rng: where the square lies.
        size: its side.
        scale: large over small size.

    Raises:
        InputError: the frames are smaller than that.
    """
    small, large, flows = clip
    height, width = small.shape[-2:]
    if size > min(height, width):
        raise InputError(f"a crop of {size} pixels does not fit into small frames of {width}x{height}")
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    inner = (..., slice(top, top + size), slice(left, left + size))
    outer = (..., slice(top * scale, (top + size) * scale), slice(left * scale, (left + size) * scale))
    return small[inner], large[outer], flows[inner]


def turn_clip(clip: Clip, rng: np.random.Generator) -> Clip:
    """One of the eight flips and quarter turns, with the flows turned likewise; and perhaps played backwards."""
    small, large, flows = clip
    flip_x, flip_y, transpose, backwards = (bool(rng.integers(2)) for _ in range(4))
    if flip_x:
        small, large, flows = small.flip(-1), large.flip(-1), flows.flip(-1) * torch.tensor([-1.0, 1.0]).view(2, 1, 1)
    if flip_y:
        small, large, flows = small.flip(-2), large.flip(-2), flows.flip(-2) * torch.tensor([1.0, -1.0]).view(2, 1, 1)
    if transpose:
        small, large, flows = small.mT, large.mT, flows.mT.flip(-3)
    if backwards:
        small, flows = small.flip(0), flows.flip(0)
        large = large.flip(0) if large.dim() == 4 else large
    return small, large, flows
