"""Doubling the size of flow and cost maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BilinearDoubling(nn.Module):
    """Channel-wise transposed convolution (4x4, stride 2) with fixed weights, bilinear unless a checkpoint differs.

    Values are not scaled. The weights are a buffer: they are stored and loaded, not learned.
    """

    weight: Tensor
    rows_seen = 2
    """Of the result's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        profile = torch.tensor([0.25, 0.75, 0.75, 0.25])
        self.register_buffer("weight", torch.outer(profile, profile).repeat(channels, 1, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,2H,2W)."""
        return F.conv_transpose2d(maps, self.weight, stride=2, padding=1, groups=maps.shape[1])


def doubling(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """A learned 4x4, stride-2 transposed convolution with bias: (B,inputs,H,W) -> (B,outputs,2H,2W)."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
