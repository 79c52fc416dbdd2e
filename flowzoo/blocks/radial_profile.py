"""Learned functions of the distance between two positions: GOCor's target, weights and mask (appendix C of the paper).

A profile is piecewise linear in the distance d: its value at d_k = k/2 feature cells, k = 0..9, is a parameter, and
beyond the last knot it stays constant.
"""

from typing import Literal

import torch
from torch import Tensor, nn

KNOTS, SPACING = 10, 0.5
"""Number of knots, and cells between them."""

Objective = Literal["robust", "linear"]


class RadialProfiles(nn.Module):
    """Target confidence y, weight v+ of positive correlations, and the share m = v-/v+ of negative ones.

    Args:
        objective: "robust" learns all three (section 3.4); "linear" is the plain regression |C(w, f) - delta|^2 of the
            paper's Table 6 (III): the parameters are there, but fixed.
    """

    def __init__(self, objective: Objective = "robust") -> None:
        super().__init__()
        distance = SPACING * torch.arange(KNOTS)
        if objective == "robust":
            target = torch.exp(-(distance**2) / 2)
            target = target - target[-1]
            logits = 4 * torch.tanh(2 - distance)
        else:
            target = (distance == 0).float()
            # sigmoid(40) is 1 in both float types: negative correlations count as much as positive ones.
            logits = torch.full((KNOTS,), 40.0)
        learned = objective == "robust"
        self.target = nn.Parameter(target, requires_grad=learned)
        self.weight = nn.Parameter(torch.ones(KNOTS), requires_grad=learned)
        self.mask_logits = nn.Parameter(logits, requires_grad=learned)

    def forward(self, distance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distances in cells, any shape -> (y / v+, v+, m), each of that shape and differentiable in the parameters."""
        knots = torch.arange(KNOTS - 1, dtype=distance.dtype, device=distance.device)
        steps = (distance / SPACING).unsqueeze(-1)
        inner = (1 - (steps - knots).abs()).clamp(min=0)
        outer = (1 + steps - (KNOTS - 1)).clamp(0, 1)
        share = torch.cat([inner, outer], dim=-1)
        values = share @ torch.stack([self.target, self.weight, self.mask_logits], dim=1).to(share.dtype)
        return values[..., 0], values[..., 1], torch.sigmoid(values[..., 2])


def window_distances(radius: int, like: Tensor) -> Tensor:
    """Lengths of all displacements of a window, dy-major: ((2r+1)^2,)."""
    steps = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    return _length(steps.view(-1, 1), steps.view(1, -1)).flatten()


def grid_distances(height: int, width: int, like: Tensor) -> Tensor:
    """Lengths of all displacements that occur on a grid, as a table (2*height-1, 2*width-1)."""
    rows = torch.arange(1 - height, height, dtype=like.dtype, device=like.device)
    columns = torch.arange(1 - width, width, dtype=like.dtype, device=like.device)
    return _length(rows.view(-1, 1), columns.view(1, -1))


def spread_over_grid(table: Tensor, height: int, width: int) -> Tensor:
    """A table by displacement (2*height-1, 2*width-1) -> (height*width, height*width): one row for each position."""
    rows = torch.arange(height, device=table.device)
    columns = torch.arange(width, device=table.device)
    row = rows.view(1, -1) - rows.view(-1, 1) + height - 1
    column = columns.view(1, -1) - columns.view(-1, 1) + width - 1
    return table[row[:, None, :, None], column[None, :, None, :]].reshape(height * width, height * width)


def _length(x: Tensor, y: Tensor) -> Tensor:
    """As `torch.hypot`, which ONNX does not know; these are small whole numbers, whose squares are exact."""
    return (x.square() + y.square()).sqrt()
