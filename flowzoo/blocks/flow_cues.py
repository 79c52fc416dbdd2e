"""Occlusion cues from the flows of both directions.

Hofinger et al.: "Improving Optical Flow on a Pyramid Level", ECCV 2020, names the four cues (sections 3.2 and 3.4);
their formulas are ours. The density is the range map of Wang et al., "Occlusion Aware Unsupervised Learning of Optical
Flow".
"""

import torch
from torch import Tensor

from flowzoo.blocks.halves import halves
from flowzoo.operators import splat, warp

CUE_CHANNELS = 6


def flow_cues(flow: Tensor) -> Tensor:
    """Cues for the flows of both directions in one pass.

    With U the flow of a sample, U' the reverse one, and w(x,p) the bilinear weight of a vector's end p at pixel x:

    - consistency U(x) + U'(x + U(x)), about 0 where a pixel is visible in both images; U' reads as 0 outside;
    - the flow rebuilt from the reverse one: sum_y w(x, y + U'(y)) (-U'(y)) / sum_y w(x, y + U'(y)), 0 without any y;
    - density sum_y w(x, y + U'(y)): how many pixels of the other image map here; 0 = occluded, above 1 = contested;
    - 1 where x + U(x) is outside the image, else 0.

    Args:
        flow: (2B,2,H,W) in pixels of this grid: B flows from first to second, then their B reverse flows.

    Returns:
        (2B,6,H,W): consistency (2), rebuilt flow (2), density (1), outside (1); each half for its own direction.
    """
    reverse = torch.cat(halves(flow)[::-1])
    consistency = flow + warp(reverse, flow)
    landed = splat(torch.cat([-reverse, torch.ones_like(reverse[:, :1])], dim=1), reverse)
    density = landed[:, 2:]
    rebuilt = landed[:, :2] / torch.where(density > 0, density, 1.0)
    height, width = flow.shape[2:]
    x = flow[:, :1] + torch.arange(width, dtype=flow.dtype, device=flow.device)
    y = flow[:, 1:] + torch.arange(height, dtype=flow.dtype, device=flow.device).view(-1, 1)
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    return torch.cat([consistency, rebuilt, density, outside.to(flow.dtype)], dim=1)
