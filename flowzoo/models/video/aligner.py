"""Alignment as in "Understanding Deformable Alignment in Video Super-Resolution", alone and small enough for a CPU.

The reference frame is rebuilt from the warped features of its neighbour; the reference itself feeds nothing but the
offsets. So the loss reaches the offsets directly (as TDAN's loss of aligned frames does).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import SLOPE, convolution
from flowzoo.blocks.offset_alignment import DeformableAlignment
from flowzoo.blocks.padding import pad_reflected
from flowzoo.blocks.pcd_alignment import doubled
from flowzoo.blocks.residual_block import ResidualBlock
from flowzoo.network import VideoNetwork, VideoPrediction
from flowzoo.zoo.aligner import AlignerSettings


class Aligner(VideoNetwork):
    """See `flowzoo.zoo.aligner.AlignerSettings` for what can be changed."""

    frames_in = 2
    multiple = 2

    def __init__(self, settings: AlignerSettings) -> None:
        super().__init__()
        self.settings, channels = settings, settings.channels
        self.extract = nn.Sequential(convolution(3, channels), nn.LeakyReLU(SLOPE), ResidualBlock(channels))
        self.coarse = nn.Sequential(
            convolution(2 * channels, 2 * channels, stride=2),
            nn.LeakyReLU(SLOPE),
            convolution(2 * channels, 2 * channels),
            nn.LeakyReLU(SLOPE),
        )
        self.fine = convolution(4 * channels, channels)
        self.align = DeformableAlignment(
            channels, channels, channels, groups=settings.groups, offsets=settings.offsets, modulated=False
        )
        self.decode = nn.Sequential(convolution(channels, channels), nn.LeakyReLU(SLOPE), convolution(channels, 3))
        # Offsets that start at exactly zero learn slowly behind a head that starts at zero, too.
        nn.init.normal_(self.align.conv_offset.weight, std=0.01)
        if settings.start and self.align.conv_offset.bias is not None:
            nn.init.constant_(self.align.conv_offset.bias, settings.start)

    def predict(self, frames: Tensor) -> VideoPrediction:
        """See `VideoNetwork.forward`: reference and neighbour (B,2,3,H,W) -> the reference rebuilt, (B,1,3,H,W).

        `details["offsets"]`: (B,2*G*N,H,W), with the taps of the kernel: where each offset reads, from its pixel.
        """
        height, width = frames.shape[-2:]
        features = self.extract(pad_reflected(frames, self.multiple).flatten(0, 1) - 0.5)
        reference, neighbour = features.view(len(frames), 2, *features.shape[1:]).unbind(1)
        both = torch.cat([reference, neighbour], dim=1)
        hidden = F.leaky_relu(self.fine(torch.cat([both, doubled(self.coarse(both))], dim=1)), SLOPE)
        aligned = self.align(neighbour, hidden)
        rebuilt = self.decode(aligned.features).float() + 0.5
        places = self.align.places(aligned.offset)
        details = {"offsets": places[..., :height, :width]}
        return VideoPrediction(rebuilt[..., :height, :width].unsqueeze(1), details)
