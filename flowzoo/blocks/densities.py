"""Match densities: discrete distributions over displacements, and vectors read from and written to them.

Yin, Darrell, Yu: HD3 (CVPR 2019), section 3.2. A density of radius c has (2c+1)^2 bins, one for each whole displacement
(dx,dy) in -c..c, in the cost volume's order: bin (dy+c)*(2c+1) + (dx+c).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from flowzoo.blocks.convolution import untraced_inference
from flowzoo.blocks.precision import at_least_float32
from flowzoo.operators.density_reading import definition, density_reading


class Reading(NamedTuple):
    """What a density says.

    Attributes:
        flow: (B,2,H,W), x then y, pixels of the density's grid, within -c..c.
        confidence: (B,1,H,W), the probability of the four bins that were used, in 0..1.
    """

    flow: Tensor
    confidence: Tensor


def radius_of(bins: int) -> int:
    """c of a density with (2c+1)^2 bins."""
    return (math.isqrt(bins) - 1) // 2


def read_density(logits: Tensor) -> Reading:
    """The vector and the confidence of every pixel's density.

    The 2x2 bins with the largest sum are taken (the first such in reading order); the vector is their mean position.
    The choice has no gradient; the four probabilities have.

    Args:
        logits: (B,(2c+1)^2,H,W), c >= 1, before the softmax.
    """
    read = density_reading if untraced_inference(logits) else definition.density_reading
    return Reading(*read(at_least_float32(logits)))


class Bins(NamedTuple):
    """Where a vector's mass goes.

    Attributes:
        place: (B,4,H,W) int64, four different bins.
        mass: (B,4,H,W), adding up to 1.
    """

    place: Tensor
    mass: Tensor


def bins_of(flow: Tensor, radius: int) -> Bins:
    """The four bins next to `flow` and its bilinear weights there.

    Args:
        flow: (B,2,H,W) in pixels of this grid; clamped to -radius..radius, NaN counts as 0.
        radius: c >= 1.
    """
    side = 2 * radius + 1
    position = flow.nan_to_num(0.0).clamp(-radius, radius) + radius
    # At the upper end the corner stays one bin inside: all the mass is then on the far bins.
    corner = position.floor().clamp(max=side - 2)
    right, bottom = (position - corner).unbind(1)
    left, top = corner.long().unbind(1)
    first = top * side + left
    place = torch.stack([first, first + 1, first + side, first + side + 1], dim=1)
    shares = [(1 - right) * (1 - bottom), right * (1 - bottom), (1 - right) * bottom, right * bottom]
    return Bins(place, torch.stack(shares, dim=1))
