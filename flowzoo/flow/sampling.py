"""Flow read between its pixels. Unknown flow is NaN, and stays unknown: nothing is made up from a missing neighbour."""

from typing import NamedTuple

import torch
from torch import Tensor

ROUNDING = 1e-3
"""Pixels that a place may lie outside the grid and count as its border: float32 sums are no more exact."""


class Rows(NamedTuple):
    """Flow (B,2,H,W) as a list of vectors (B*H*W,2), which is what single places are read from."""

    vectors: Tensor
    height: int
    width: int


def rows_of(flow: Tensor) -> Rows:
    """(B,2,H,W) as rows."""
    return Rows(flow.permute(0, 2, 3, 1).reshape(-1, 2), *flow.shape[2:])


def places(flow: Tensor) -> tuple[Tensor, Tensor]:
    """x and y of p + flow(p), each (B,H,W)."""
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype).view(-1, 1)
    return flow[:, 0] + x, flow[:, 1] + y


def flow_at(flow: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Flow (B,2,H,W) at places (B,h,w), bilinear, (B,2,h,w); NaN outside the grid and beside unknown pixels."""
    image = torch.arange(flow.shape[0], device=flow.device).view(-1, 1, 1).expand(x.shape)
    found = vectors_at(rows_of(flow), image.flatten(), x.flatten(), y.flatten())
    return found.view(*x.shape, 2).permute(0, 3, 1, 2)


def vectors_at(rows: Rows, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Vectors (N,2) at N places of images of the batch, bilinear; NaN outside the grid and beside unknown pixels."""
    last_x, last_y = rows.width - 1, rows.height - 1
    inside = (x >= -ROUNDING) & (x <= last_x + ROUNDING) & (y >= -ROUNDING) & (y <= last_y + ROUNDING)
    safe_x = torch.where(inside, x, 0.0).clamp(0, last_x)
    safe_y = torch.where(inside, y, 0.0).clamp(0, last_y)
    corners, across, down = _cell(rows, image, safe_x, safe_y)
    weights = ((1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down)
    total = torch.zeros_like(corners[0])
    for corner, weight in zip(corners, weights, strict=True):
        # A neighbour without weight may be unknown.
        total = total + torch.where(weight == 0, 0.0, corner) * weight
    return torch.where(inside.unsqueeze(1), total, torch.nan)


def linear_at(rows: Rows, image: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors at N places, and their derivatives by x and y, (N,2) each; outside the grid the nearest cell goes on."""
    (upper_left, upper_right, lower_left, lower_right), across, down = _cell(rows, image, x, y)
    upper, lower = upper_right - upper_left, lower_right - lower_left
    left, right = lower_left - upper_left, lower_right - upper_right
    value = upper_left + across * upper + down * (left + across * (right - left))
    return value, upper + down * (lower - upper), left + across * (right - left)


def _cell(rows: Rows, image: Tensor, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """The four pixels around places, (N,2) each (upper left, upper right, lower left, lower right), and how far across
    and down the cell the places lie, (N,1)."""
    left = x.detach().floor().clamp(0, max(0, rows.width - 2))
    top = y.detach().floor().clamp(0, max(0, rows.height - 2))
    begin = (image * rows.height + top.long()) * rows.width + left.long()
    right, below = min(1, rows.width - 1), rows.width * min(1, rows.height - 1)
    corners = [rows.vectors[begin + offset] for offset in (0, right, below, below + right)]
    return corners, (x - left).unsqueeze(1), (y - top).unsqueeze(1)
