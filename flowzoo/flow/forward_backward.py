"""Occlusion and confidence from the flows of both directions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def occlusion(flow: Tensor, backward: Tensor, relative: float = 0.01, absolute: float = 0.5) -> Tensor:
    """Forward-backward check: where the backward flow does not lead back.

    A pixel counts as occluded where |w + w'|^2 > relative (|w|^2 + |w'|^2) + absolute, with w the flow and w' the
    backward flow it leads to, or where it leads out of the image (Sundaram, Brox, Keutzer, ECCV 2010, section 3.2).

    Args:
        flow: (B,2,H,W) in pixels.
        backward: likewise, of the second image's size.

    Returns:
        (B,H,W) bool, True = occluded.
    """
    back, inside = returned(flow, backward)
    mismatch = (flow + back).square().sum(1)
    bound = relative * (flow.square().sum(1) + back.square().sum(1)) + absolute
    return (mismatch > bound) | ~inside


def cycle_confidence(flow: Tensor, backward: Tensor) -> Tensor:
    """Confidence from cyclic consistency: 1 / (1 + e), e pixels from where the way there and back ends; 0 outside.

    Args:
        flow: (B,2,H,W), leads from the first image to pixels of the second.
        backward: (B,2,H2,W2), leads back.

    Returns:
        (B,1,H,W) in 0..1.
    """
    back, inside = returned(flow, backward)
    error = (flow + back).square().sum(1, keepdim=True).sqrt()
    return torch.where(inside.unsqueeze(1), 1 / (1 + error), 0.0)


def returned(flow: Tensor, backward: Tensor) -> tuple[Tensor, Tensor]:
    """The backward flow that `flow` leads to, (B,2,H,W), and whether it leads into the second image, (B,H,W)."""
    height, width = backward.shape[2:]
    x = flow[:, 0] + torch.arange(flow.shape[3], device=flow.device, dtype=flow.dtype)
    y = flow[:, 1] + torch.arange(flow.shape[2], device=flow.device, dtype=flow.dtype).view(-1, 1)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(backward, grid, mode="bilinear", padding_mode="zeros", align_corners=False), inside
