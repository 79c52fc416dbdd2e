"""Red-black SOR in plain torch: the definition of `relaxation`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators.precision import working_dtype


def relaxation(system: Tensor, step: Tensor, sweeps: int, factor: float) -> Tensor:
    """(B,7,H,W) and (B,2,H,W) -> (B,2,H,W)."""
    dtype, kept = working_dtype(step), step.dtype
    a11, a12, a22, b1, b2, right, below = system.to(dtype).split(1, dim=1)
    step = step.to(dtype, copy=True)
    height, width = step.shape[-2:]
    left, above = F.pad(right[..., :-1], (1, 0)), F.pad(below[..., :-1, :], (0, 0, 1, 0))
    total = left + above + right + below
    rows, columns = torch.arange(height, device=step.device).view(-1, 1), torch.arange(width, device=step.device)
    even = (rows + columns) % 2 == 0
    for _ in range(sweeps):
        for colour in (even, ~even):
            padded = F.pad(step, (1, 1, 1, 1))
            around = left * padded[..., 1:-1, :-2] + right * padded[..., 1:-1, 2:]
            around += above * padded[..., :-2, 1:-1] + below * padded[..., 2:, 1:-1]
            du, dv = step[:, :1], step[:, 1:]
            new_du = (b1 + around[:, :1] - a12 * dv) / (a11 + total)
            du = torch.where(colour, du + factor * (new_du - du), du)
            new_dv = (b2 + around[:, 1:] - a12 * du) / (a22 + total)
            dv = torch.where(colour, dv + factor * (new_dv - dv), dv)
            step = torch.cat([du, dv], dim=1)
    return step.to(kept).contiguous()
