"""Weighted median of a flow where motions meet: sharper boundaries.

Each component of the flow becomes the weighted median of 25 neighbours, one in three pixels to each side. A neighbour
weighs more the more its colour is like that of the pixel and the more reliable its own flow is. Pixels whose
neighbours agree keep their flow. After Sun, Roth, Black: "Secrets of Optical Flow Estimation and Their Principles",
CVPR 2010, with another measure of reliability and without their weight by distance, which changes nothing here. Not
differentiable: a step after the network.
"""

import torch
from torch import Tensor

from flowzoo import operators
from flowzoo.blocks.variational import LEAST, MISMATCH, check_pair, grey_levels

SPACING = 3  # pixels between neighbours
DISAGREEMENT = 2.0  # pixels: neighbours whose flows differ by less are left alone
LIKENESS = 10.0  # grey levels: standard deviation of the weight by colour


@torch.no_grad()
def boundary_median(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """A flow with sharper boundaries.

    Args:
        first, second: (B,3,H,W) RGB in [0,1].
        flow: (B,2,H,W), pixels.

    Returns:
        (B,2,H,W) float32.

    Raises:
        InputError: shapes or devices that do not fit.
    """
    check_pair(first, second, flow)
    flow = flow.float().contiguous()
    if flow.numel() == 0:
        return flow
    first, second = first.float().contiguous(), second.float().contiguous()
    trust = operators.flow_reliability(grey_levels(first), grey_levels(second), flow, MISMATCH, LEAST)
    return operators.boundary_median(first * 255, flow, trust, SPACING, DISAGREEMENT, LIKENESS)
