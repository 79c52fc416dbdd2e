"""Backward warping in plain PyTorch: the definition of `warp`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators.coordinates import bounded, coordinates
from flowzoo.operators.precision import without_autocast


def warp(features: Tensor, flow: Tensor) -> Tensor:
    """(B,C,H,W), (B,2,H,W) -> (B,C,H,W), of the features' dtype."""
    batch, _, height, width = features.shape
    if batch == 0:
        return features * flow[:, :1]
    # Coordinates need more than the 8 or 11 bits of the half types.
    with without_autocast(features.device):
        dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
        x, y = coordinates(bounded(flow.to(dtype), height, width))
        sampled = features.to(dtype)
        # A side of one pixel has no corners to align; a second, zero pixel gives it some and changes nothing.
        if height == 1 or width == 1:
            sampled = F.pad(sampled, (0, int(width == 1), 0, int(height == 1)))
        grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], dim=-1)
        warped = F.grid_sample(sampled, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return warped.to(features.dtype)
