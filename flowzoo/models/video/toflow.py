"""TOFlow. Xue, Chen, Wu, Wei, Freeman: "Video Enhancement with Task-Oriented Flow", IJCV 2019.

As published for super-resolution: seven frames that are enlarged to the output's size before.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.blocks.convolution import convolution
from flowzoo.blocks.padding import pad_reflected
from flowzoo.blocks.task_flow import ImageStatistics, TaskFlow
from flowzoo.network import VideoNetwork, VideoPrediction
from flowzoo.operators import warp
from flowzoo.zoo.toflow import TOFlowSettings

FRAMES, MIDDLE = 7, 3


class TOFlow(VideoNetwork):
    """See `flowzoo.zoo.toflow.TOFlowSettings` for what can be changed."""

    frames_in = FRAMES
    multiple = 16
    enlarged_input = True
    bytes_per_pixel = 22_300  # of the frame before it is enlarged

    def __init__(self, settings: TOFlowSettings) -> None:
        super().__init__()
        self.settings = settings
        self.statistics = ImageStatistics()
        self.spynet = TaskFlow()
        self.conv_1, self.conv_2 = convolution(3 * FRAMES, 64, 9), convolution(64, 64, 9)
        self.conv_3, self.conv_4 = convolution(64, 64, 1), convolution(64, 3, 1)

    def predict(self, frames: Tensor) -> VideoPrediction:
        """See `VideoNetwork.forward`: (B,7,3,H,W) -> (B,1,3,H,W). `details["flows"]`: (B,6,2,H,W) to the others."""
        height, width = frames.shape[-2:]
        frames = self.statistics(pad_reflected(frames, self.multiple))
        middle = frames[:, MIDDLE]
        flows, warped = [], []
        for index, frame in enumerate(frames.unbind(1)):
            if index == MIDDLE:
                warped.append(middle)
                continue
            flows.append(self.spynet(middle, frame))
            warped.append(warp(frame, flows[-1]))
        if self.settings.order == "official":
            warped = [middle, *warped[:MIDDLE], *warped[MIDDLE + 1 :]]
        maps = F.relu(self.conv_1(torch.cat(warped, dim=1)))
        maps = F.relu(self.conv_3(F.relu(self.conv_2(maps))))
        result = self.statistics.restore(self.conv_4(maps).float() + middle)
        details = {"flows": torch.stack(flows, dim=1)[..., :height, :width]}
        return VideoPrediction(result[..., :height, :width].unsqueeze(1), details)
