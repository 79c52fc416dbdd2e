"""Warping features of the second image towards the first, in the variants that published networks use."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators import warp
from flowzoo.operators.precision import without_autocast


def inside_share(flow: Tensor) -> Tensor:
    """Share of the bilinear weight that falls inside the image where `flow` leads: (B,2,H,W) -> (B,1,H,W) in 0..1.

    This is what warping a map of ones gives: 1 inside, falling to 0 one pixel outside.
    """
    height, width = flow.shape[-2:]
    shares = []
    for axis, size in ((0, width), (1, height)):
        steps = torch.arange(size, dtype=flow.dtype, device=flow.device)
        target = flow[:, axis] + (steps if axis == 0 else steps.view(-1, 1))
        shares.append((1 + torch.minimum(target, size - 1 - target)).clamp(0, 1))
    return (shares[0] * shares[1]).nan_to_num(0).unsqueeze(1)


def warp_features(features: Tensor, flow: Tensor, mask_threshold: float | None = None) -> Tensor:
    """Features (B,C,H,W) read bilinearly at x + flow, zero outside.

    Args:
        flow: (B,2,H,W) in pixels of this grid.
        mask_threshold: set pixels to zero altogether whose inside share is below this (PWC-Net: 0.9999);
            None keeps the partial values at the border (LiteFlowNet). No gradient flows through the mask.
    """
    warped = warp(features, flow)
    if mask_threshold is None:
        return warped
    return warped * (inside_share(flow.detach()) >= mask_threshold).to(warped.dtype)


def warp_border(features: Tensor, flow: Tensor) -> Tensor:
    """Features (B,C,H,W) read bilinearly at x + flow, the border pixel repeated outside; flow as in `warp_features`."""
    height, width = features.shape[-2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype, device=flow.device).view(-1, 1) + flow[:, 1]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    # Coordinates need more than the 8 or 11 bits of the half types.
    with without_autocast(features.device):
        warped = F.grid_sample(features.to(grid.dtype), grid, padding_mode="border", align_corners=True)
    return warped.to(features.dtype)


def warp_features_border(features: Tensor, flow: Tensor, mask_threshold: float) -> Tensor:
    """As `warp_features`, but reading the border pixel outside the image before the mask is applied (HD3)."""
    warped = warp_border(features, flow)
    return warped * (inside_share(flow.detach()) >= mask_threshold).to(warped.dtype)
