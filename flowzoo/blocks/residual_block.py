"""The residual block of super-resolution networks: two convolutions without normalisation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(x))); starts close to the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = convolution(channels, channels), convolution(channels, channels)
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight)
            assert layer.bias is not None, "made with a bias"
            nn.init.zeros_(layer.bias)
            with torch.no_grad():
                layer.weight.mul_(0.1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C,H,W) -> the same."""
        change: Tensor = self.conv2(F.relu(self.conv1(maps), inplace=True))
        if torch.is_grad_enabled() or change.dtype != maps.dtype:
            return maps + change
        return change.add_(maps)


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """`count` of them in a row."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))
