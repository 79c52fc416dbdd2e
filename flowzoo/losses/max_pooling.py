"""Loss max-pooling: train on the pixels with the largest losses.

Hofinger, Rota Bulo, Porzi, Knapitsch, Pock, Kontschieder: "Improving Optical Flow on a Pyramid Level", ECCV 2020,
section 3.2, equation 4.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowzoo.errors import InputError


@dataclass
class PixelLoss:
    """One pyramid level's loss before it is reduced to a number.

    Attributes:
        values: (B,h,w), >= 0.
        valid: (B,h,w) bool, where there is ground truth; None = everywhere. `values` is 0 elsewhere.
        reachable: (B,h,w) bool, where the level can express the true motion; None = everywhere.
    """

    values: Tensor
    valid: Tensor | None = None
    reachable: Tensor | None = None


def mean_of_hardest(values: Tensor, share: float, valid: Tensor | None = None) -> Tensor:
    """The largest weighted sum of `values` with weights >= 0 that add up to at most 1, each at most 1/(share N).

    N counts an image's valid pixels. The answer is the mean of its share*N largest values; where share*N is not whole,
    the last of them counts with the rest; below one pixel it is the largest value.

    Args:
        values: (B,h,w), >= 0.
        share: part of the pixels that is kept, above 0 and at most 1.
        valid: (B,h,w) bool; None = all. An image without any gives 0.

    Returns:
        (B,), one number an image.

    Raises:
        InputError: share is out of range.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share of pixels for loss max-pooling must be above 0 and at most 1, got {share}")
    flat = values.flatten(1)
    counts = torch.full_like(flat[:, 0], flat.shape[1])
    if valid is not None:
        marks = valid.flatten(1)
        flat, counts = torch.where(marks, flat, 0.0), marks.sum(1).to(flat.dtype)
    kept = (share * counts).clamp(min=1)
    # As many as the fullest image can keep; one more, because `kept` is rounded. (Its largest value is on the device.)
    most = min(flat.shape[1], math.ceil(share * flat.shape[1]) + 1)
    hardest = flat.topk(most, dim=1).values
    weights = (kept.unsqueeze(1) - torch.arange(most, device=flat.device)).clamp(0, 1)
    return (hardest * weights).sum(1) / kept


def max_pooled(level: PixelLoss, share: float) -> Tensor:
    """A level's loss with max-pooling: mean over the images of a batch, a number.

    Pixels out of the level's reach count as 0, so that outliers are not what is learned; pixels without ground truth
    do not count at all.
    """
    values = level.values
    if level.reachable is not None:
        values = torch.where(level.reachable, values, 0.0)
    return mean_of_hardest(values, share, level.valid).mean()


def mean_over_valid(level: PixelLoss) -> Tensor:
    """The plain mean over the batch's valid pixels, a number; 0 where there are none."""
    if level.valid is None:
        return level.values.mean()
    valid = level.valid.to(level.values.dtype)
    return (level.values * valid).sum() / valid.sum().clamp(min=1)
