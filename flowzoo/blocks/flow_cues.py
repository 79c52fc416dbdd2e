"""Occlusion cues from the flows of both directions.

"Improving Optical Flow on a Pyramid Level", section 3.2, names the four cues; their formulas are ours.
"""

import torch
from torch import Tensor

from flowzoo.operators import splat, warp

CUE_CHANNELS = 6


def flow_cues(flow: Tensor) -> Tensor:
    """Cues for the flows of both directions in one pass.

    Args:
        flow: (2B,2,H,W) in pixels of this grid: B flows from first to second, then their B reverse flows.

    Returns:
        (2B,6,H,W): forward-backward consistency (2: the flow plus the reverse flow it leads to), the flow rebuilt
        from the reverse one by splatting (2), how many pixels of the other image land here (1; 0 = occluded), and
        whether the flow leaves the image (1).
    """
    reverse = torch.cat(flow.chunk(2)[::-1])
    consistency = flow + warp(reverse, flow)
    landed = splat(torch.cat([-reverse, torch.ones_like(reverse[:, :1])], dim=1), reverse)
    density = landed[:, 2:]
    rebuilt = torch.where(density > 0, landed[:, :2] / density.clamp(min=1e-6), torch.zeros_like(flow))
    height, width = flow.shape[2:]
    x = flow[:, :1] + torch.arange(width, dtype=flow.dtype, device=flow.device)
    y = flow[:, 1:] + torch.arange(height, dtype=flow.dtype, device=flow.device).view(-1, 1)
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    return torch.cat([consistency, rebuilt, density, outside.to(flow.dtype)], dim=1)
