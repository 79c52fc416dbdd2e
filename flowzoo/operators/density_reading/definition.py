"""The vector that a match density says, in plain torch: the definition of `density_reading`."""

import math

import torch
from torch import Tensor


def density_reading(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B,(2c+1)^2,H,W) -> flow (B,2,H,W) and confidence (B,1,H,W).

    The choice of the bins has no gradient; their probabilities have.
    """
    side = math.isqrt(logits.shape[1])
    radius = (side - 1) // 2
    density = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)
    with torch.no_grad():
        grid = density.unflatten(1, (side, side))
        rows = grid[:, :, :-1] + grid[:, :, 1:]
        windows = rows[:, :-1] + rows[:, 1:]
        best = windows.flatten(1, 2).argmax(dim=1, keepdim=True)
        top = best // (side - 1)
        left = best - top * (side - 1)
        corner = top * side + left
    left_top, right_top, left_bottom, right_bottom = (
        density.gather(1, corner + step) for step in (0, 1, side, side + 1)
    )
    right, bottom = right_top + right_bottom, left_bottom + right_bottom
    total = right + left_top + left_bottom
    x = (left - radius).to(density.dtype) + right / total
    y = (top - radius).to(density.dtype) + bottom / total
    return torch.cat([x, y], dim=1).to(logits.dtype), total.to(logits.dtype)
