"""BasicVSR. Chan, Wang, Yu, Dong, Loy: "BasicVSR: The Search for Essential Components in Video Super-Resolution and
Beyond", CVPR 2021."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo import registry
from flowzoo.blocks.convolution import SLOPE, convolution, layout, leaky
from flowzoo.blocks.residual_block import residual_blocks
from flowzoo.blocks.sub_pixels import enlarged, in_bands
from flowzoo.network import VideoNetwork, VideoPrediction
from flowzoo.operators import warp
from flowzoo.zoo.basicvsr import BasicVSRSettings


class BasicVSR(VideoNetwork):
    """See `flowzoo.zoo.basicvsr.BasicVSRSettings` for what can be changed."""

    scale = 4

    def __init__(self, settings: BasicVSRSettings) -> None:
        super().__init__()
        self.settings = settings
        channels = settings.channels
        self.spynet = registry.build("spynet")
        self.backward_trunk, self.forward_trunk = _trunk(settings), _trunk(settings)
        self.fusion = nn.Conv2d(2 * channels, channels, 1)
        self.upconv1, self.upconv2 = convolution(channels, 4 * channels), convolution(channels, 256)
        self.conv_hr, self.conv_last = convolution(64, 64), convolution(64, 3)

    def predict(self, frames: Tensor) -> VideoPrediction:
        """See `VideoNetwork.forward`: (B,T,3,H,W) -> all of them enlarged, (B,T,3,4H,4W).

        `details` has the flows (B,T-1,2,H,W) in pixels: "flows_backward" from each frame to the next, "flows_forward"
        from each frame but the first to the one before.
        """
        ahead, behind = self.flows(frames)
        later = self._propagated(frames, ahead, backward=True)
        earlier = self._propagated(frames, behind, backward=False)
        results = [
            self._enlarged(frame, torch.cat(pair, dim=1))
            for frame, *pair in zip(frames.unbind(1), later, earlier, strict=True)
        ]
        return VideoPrediction(torch.stack(results, dim=1), {"flows_backward": ahead, "flows_forward": behind})

    def flows(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Flows (B,T-1,2,H,W) from each frame to the next, and back from there."""
        batch, count, _, height, width = frames.shape
        if count == 1:
            none = frames.new_zeros(batch, 0, 2, height, width)
            return none, none
        former, latter = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
        ahead, behind = self.spynet(former, latter).flow, self.spynet(latter, former).flow
        return ahead.view(batch, -1, 2, height, width), behind.view(batch, -1, 2, height, width)

    def _propagated(self, frames: Tensor, flows: Tensor, backward: bool) -> list[Tensor]:
        """Features of every frame (B,C,H,W), carried from the last to the first frame or the other way."""
        batch, count, _, height, width = frames.shape
        trunk = self.backward_trunk if backward else self.forward_trunk
        features = frames.new_zeros(batch, self.settings.channels, height, width)
        found: list[Tensor] = []
        for step in range(count):
            index = count - 1 - step if backward else step
            if step:
                features = warp(features, flows[:, index if backward else index - 1])
            features = trunk(layout(torch.cat([frames[:, index].to(features.dtype), features], dim=1)))
            found.append(features)
        return found[::-1] if backward else found

    def _enlarged(self, frame: Tensor, features: Tensor) -> Tensor:
        """One frame (B,3,H,W) and both directions' features -> (B,3,4H,4W)."""
        maps = F.leaky_relu(self.fusion(features), SLOPE, inplace=True)
        residual = in_bands(self._finish, enlarged(self.upconv1, maps), 2)
        coarse = F.interpolate(frame, scale_factor=4, mode="bilinear", align_corners=False)
        return residual.float() + coarse

    def _finish(self, maps: Tensor) -> Tensor:
        """(B,C,h,w) of half the result's size -> colours (B,3,2h,2w) of the result's."""
        result: Tensor = self.conv_last(self.conv_hr.activated(enlarged(self.upconv2, maps)))
        return result


def _trunk(settings: BasicVSRSettings) -> nn.Sequential:
    """Frame and carried features -> features."""
    channels = settings.channels
    return nn.Sequential(convolution(channels + 3, channels), leaky(), residual_blocks(channels, settings.blocks))
