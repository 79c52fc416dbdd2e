"""The pyramid that EDVR puts before alignment where frames are blurred. Wang et al.: EDVR, section 3.1 and figure 2."""

import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import SLOPE, convolution
from flowzoo.blocks.pcd_alignment import doubled
from flowzoo.blocks.residual_block import ResidualBlock


class Predeblur(nn.Module):
    """Frames (B,3,H,W) -> features (B,C,H,W), or of a quarter of the size with `full_size`."""

    def __init__(self, channels: int, full_size: bool) -> None:
        super().__init__()
        self.conv_first = convolution(3, channels)
        self.full_size = full_size
        if full_size:
            self.stride_conv_hr1, self.stride_conv_hr2 = _halving(channels), _halving(channels)
        self.stride_conv_l2, self.stride_conv_l3 = _halving(channels), _halving(channels)
        self.resblock_l3 = ResidualBlock(channels)
        self.resblock_l2_1, self.resblock_l2_2 = ResidualBlock(channels), ResidualBlock(channels)
        self.resblock_l1 = nn.ModuleList(ResidualBlock(channels) for _ in range(5))

    def forward(self, frames: Tensor) -> Tensor:
        """See the class; H and W are multiples of 4, with `full_size` of 16."""
        fine = F.leaky_relu(self.conv_first(frames), SLOPE)
        if self.full_size:
            fine = F.leaky_relu(self.stride_conv_hr1(fine), SLOPE)
            fine = F.leaky_relu(self.stride_conv_hr2(fine), SLOPE)
        middle = F.leaky_relu(self.stride_conv_l2(fine), SLOPE)
        coarse = F.leaky_relu(self.stride_conv_l3(middle), SLOPE)
        middle = self.resblock_l2_1(middle) + doubled(self.resblock_l3(coarse))
        middle = doubled(self.resblock_l2_2(middle))
        for block in self.resblock_l1[:2]:
            fine = block(fine)
        fine = fine + middle
        for block in self.resblock_l1[2:]:
            fine = block(fine)
        return fine


def _halving(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride=2, padding=1)
