"""Where flow leads: places of a map that are safe to turn into whole numbers."""

import torch
from torch import Tensor


def bounded(flow: Tensor, height: int, width: int) -> Tensor:
    """`flow` with NaN and everything that surely leaves the map replaced by one vector that does, without gradient."""
    far = torch.sym_float(height + width + 2)
    return torch.where(flow.abs() <= far, flow, far)


def coordinates(flow: Tensor) -> tuple[Tensor, Tensor]:
    """x and y, each (B,H,W), of p + flow."""
    height, width = flow.shape[2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device)
    y = torch.arange(height, dtype=flow.dtype, device=flow.device).view(-1, 1)
    return flow[:, 0] + x, flow[:, 1] + y
