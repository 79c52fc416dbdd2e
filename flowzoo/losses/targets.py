"""True flow at the size of a pyramid level."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from flowzoo.blocks.caffe_resampling import downsample

Shrinking = Literal["average", "caffe", "bilinear"]


def known_pixels(flow: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Flow (B, 2, H, W) with 0 where it is unknown, and where it is known (B, 1, H, W) as 0 or 1.

    Known is what `valid`, (B, H, W) or (B, 1, H, W) above 0, says, and finite.
    """
    known = torch.isfinite(flow).all(dim=1, keepdim=True)
    if valid is not None:
        known = known & (valid.reshape(known.shape) > 0)
    return torch.where(known, flow, 0.0), known.to(flow.dtype)


def shrunk(flow: Tensor, known: Tensor, size: tuple[int, int], how: Shrinking) -> tuple[Tensor, Tensor]:
    """Flow at `size` (h, w), its values unchanged, and where any known flow went into it.

    Args:
        flow: (B, 2, H, W), 0 where unknown.
        known: (B, 1, H, W), 0 or 1.
        how: "average" of the known pixels of each cell; "caffe": the Downsample layer that the published networks were
            trained with; "bilinear" interpolation (GLU-Net). All are normalised by what is known.
    """
    if flow.shape[-2:] == size:
        return flow, known
    both = torch.cat((flow, known), dim=1)
    if how == "average":
        both = functional.adaptive_avg_pool2d(both, size)
    elif how == "caffe":
        both = downsample(both, size)
    else:
        both = functional.interpolate(both, size=size, mode="bilinear", align_corners=False)
    share = both[:, 2:]
    return both[:, :2] / share.clamp(min=1e-6), (share > 1e-6).to(flow.dtype)
