"""Occlusion from the flows of both directions."""

import torch
from torch import Tensor

from flowzoo.operators import warp


def occlusion(flow: Tensor, backward: Tensor, relative: float = 0.01, absolute: float = 0.5) -> Tensor:
    """Forward-backward check: where the backward flow does not lead back.

    A pixel counts as occluded where |w + w'|^2 > relative (|w|^2 + |w'|^2) + absolute, with w the flow and w' the
    backward flow it leads to, or where it leads out of the image (Sundaram, Brox, Keutzer, ECCV 2010, section 3.2).

    Args:
        flow, backward: (B,2,H,W) in pixels.

    Returns:
        (B,H,W) bool, True = occluded.
    """
    height, width = flow.shape[2:]
    returned = warp(backward, flow)
    mismatch = (flow + returned).square().sum(1)
    bound = relative * (flow.square().sum(1) + returned.square().sum(1)) + absolute
    x = flow[:, 0] + torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = flow[:, 1] + torch.arange(height, device=flow.device, dtype=flow.dtype).view(-1, 1)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return (mismatch > bound) | ~inside
