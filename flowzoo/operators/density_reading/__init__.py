"""What match densities say: a vector and how sure it is."""

import math

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_maps
from flowzoo.operators.density_reading.registered import DENSITY_READING


def density_reading(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The vector and the confidence of every pixel's density, without derivatives.

    The 2x2 bins with the largest sum are taken (the first such in reading order); the vector is their mean position.
    Yin, Darrell, Yu: HD3 (CVPR 2019), section 3.2. `flowzoo.blocks.densities` has the order of the bins.

    Args:
        logits: (B,(2c+1)^2,H,W), c >= 1, before the softmax.

    Returns:
        Flow (B,2,H,W), x then y, pixels of the density's grid, within -c..c; and the probability of the four bins
        (B,1,H,W), in 0..1.

    Raises:
        InputError: no such shape.
    """
    check_maps("logits", logits)
    side = math.isqrt(logits.shape[1])
    if side * side != logits.shape[1] or side % 2 == 0 or side < 3:
        raise InputError(f"logits must have (2c+1)^2 channels with c of at least 1, got shape {tuple(logits.shape)}")
    flow, confidence = DENSITY_READING(logits)
    return flow, confidence
