"""The flow-based network with offset diversity of "Understanding Deformable Alignment in Video Super-Resolution".

Chan, Wang, Yu, Dong, Loy, AAAI 2021, footnote 3: like TOFlow, but warping happens at the small size, and several
SPyNets give several flows for each neighbour. How many frames, how they are fused and enlarged is our choice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution
from flowzoo.blocks.padding import pad_reflected
from flowzoo.blocks.task_flow import ImageStatistics, TaskFlow
from flowzoo.errors import InputError
from flowzoo.network import VideoNetwork, VideoPrediction
from flowzoo.operators import warp
from flowzoo.zoo.flow_vsr import FlowVSRSettings


class FlowVSR(VideoNetwork):
    """See `flowzoo.zoo.flow_vsr.FlowVSRSettings` for what can be changed."""

    scale = 4
    bytes_per_pixel = 2200
    multiple = 16

    def __init__(self, settings: FlowVSRSettings) -> None:
        super().__init__()
        if settings.frames < 1 or settings.frames % 2 == 0 or settings.flows < 1:
            raise InputError(f"frames must be odd and flows at least 1, got {settings.frames} and {settings.flows}")
        self.settings, self.frames_in = settings, settings.frames
        self.statistics = ImageStatistics()
        self.spynet = nn.ModuleList(TaskFlow() for _ in range(settings.flows))
        pictures = 1 + (settings.frames - 1) * settings.flows
        self.conv_1, self.conv_2 = convolution(3 * pictures, 64, 9), convolution(64, 64, 9)
        self.conv_3, self.conv_4 = convolution(64, 64, 1), convolution(64, 48, 1)

    def predict(self, frames: Tensor) -> VideoPrediction:
        """See `VideoNetwork.forward`: (B,T,3,H,W) -> the middle frame enlarged, (B,1,3,4H,4W).

        `details["flows"]`: (B,T-1,N,2,H,W), from the middle frame to the others in their order.
        """
        height, width = frames.shape[-2:]
        frames = self.statistics(pad_reflected(frames, self.multiple))
        index_of_middle = frames.shape[1] // 2
        middle = frames[:, index_of_middle]
        flows, warped = [], []
        for index, frame in enumerate(frames.unbind(1)):
            if index == index_of_middle:
                warped.append(middle)
                continue
            found = [spynet(middle, frame) for spynet in self.spynet]
            warped += [warp(frame, flow) for flow in found]
            flows.append(torch.stack(found, dim=1))
        maps = F.relu(self.conv_1(torch.cat(warped, dim=1)))
        maps = F.relu(self.conv_3(F.relu(self.conv_2(maps))))
        enlarged = F.interpolate(middle, scale_factor=4, mode="bilinear", align_corners=False)
        result = self.statistics.restore(F.pixel_shuffle(self.conv_4(maps).float(), 4) + enlarged)
        details = {"flows": torch.stack(flows, dim=1)[..., :height, :width]} if flows else {}
        return VideoPrediction(result[..., : 4 * height, : 4 * width].unsqueeze(1), details)
