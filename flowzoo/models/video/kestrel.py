"""Kestrel: a compact network for video super-resolution whose alignment starts from a flow network's flow.

No published model. Alignment is the deformable one of "Understanding Deformable Alignment in Video Super-Resolution"
with N = 5 offsets, which the paper finds enough, as residuals to the flow.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo import registry
from flowzoo.blocks.bicubic import resize_bicubic
from flowzoo.blocks.convolution import convolution, layout
from flowzoo.blocks.offset_alignment import Aligned, DeformableAlignment
from flowzoo.blocks.residual_block import residual_blocks
from flowzoo.errors import InputError
from flowzoo.network import VideoNetwork, VideoPrediction
from flowzoo.operators import warp
from flowzoo.zoo.kestrel import KestrelSettings

SLOPE = 0.1


class Kestrel(VideoNetwork):
    """See `flowzoo.zoo.kestrel.KestrelSettings` for what can be changed.

    The flow network is part of it, with its weights, and is not trained.
    """

    scale = 4
    bytes_per_pixel = 5600

    def __init__(self, settings: KestrelSettings) -> None:
        super().__init__()
        if settings.frames < 1 or settings.frames % 2 == 0:
            raise InputError(f"frames must be odd, got {settings.frames}")
        self.settings, self.frames_in = settings, settings.frames
        channels, width = settings.channels, settings.width
        self.flow = registry.build(settings.flow).eval().requires_grad_(False)
        self.extract = nn.Sequential(convolution(3, channels), nn.LeakyReLU(SLOPE), residual_blocks(channels, 2))
        self.look = nn.Sequential(
            convolution(2 * channels + 5, channels),
            nn.LeakyReLU(SLOPE),
            convolution(channels, channels),
            nn.LeakyReLU(SLOPE),
        )
        self.align = DeformableAlignment(
            channels, channels, channels, groups=settings.groups, offsets=settings.offsets, limit=settings.reach
        )
        self.fuse = convolution(settings.frames * channels + 2 * (settings.frames - 1), width, 1)
        self.reconstruct = residual_blocks(width, settings.blocks)
        self.enlarge = nn.Sequential(
            convolution(width, 96), nn.PixelShuffle(2), nn.LeakyReLU(SLOPE), convolution(24, 12), nn.PixelShuffle(2)
        )
        last = self.enlarge[-2]
        assert isinstance(last, nn.Conv2d), "the last convolution"
        with torch.no_grad():
            last.weight.mul_(0.1)

    def train(self, mode: bool = True) -> "Kestrel":
        """As for any module, but the flow network stays as it is used."""
        super().train(mode)
        self.flow.eval()
        return self

    def predict(self, frames: Tensor) -> VideoPrediction:
        """See `VideoNetwork.forward`: (B,T,3,H,W) -> the middle frame, (B,1,3,4H,4W)."""
        return self.with_flows(frames, self.flows(frames))

    @torch.no_grad()
    def flows(self, frames: Tensor) -> Tensor:
        """(B,T,3,H,W) -> (B,T-1,2,H,W): flow from the middle frame to each other one, in their order."""
        batch, count, _, height, width = frames.shape
        if count == 1:
            return frames.new_zeros(batch, 0, 2, height, width)
        middle = frames[:, count // 2 : count // 2 + 1].expand(-1, count - 1, -1, -1, -1)
        flow: Tensor = self.flow(middle.flatten(0, 1), _others(frames).flatten(0, 1)).flow
        return flow.view(batch, count - 1, 2, height, width)

    def with_flows(self, frames: Tensor, flows: Tensor) -> VideoPrediction:
        """As `predict`, with flows as `flows` gives them: training computes them once for all steps."""
        batch, count, _, height, width = frames.shape
        middle = frames[:, count // 2]
        features = self.extract(layout(frames.flatten(0, 1) - 0.5))
        features = features.view(batch, count, -1, height, width)
        reference = features[:, count // 2]
        details: dict[str, Any] = {}
        seen = [reference]
        if count > 1:
            aligned = self._aligned(reference, _others(features), middle, _others(frames), flows)
            fractions = _fractions(flows)
            seen += [*aligned.features.view(batch, count - 1, -1, height, width).unbind(1), fractions.flatten(1, 2)]
            details = {"flows": flows}
            if self.keeps_details:
                offsets = aligned.offset.view(batch, count - 1, -1, height, width)
                details["offsets"] = [{"l1": offset} for offset in offsets.unbind(1)]
                assert aligned.mask is not None, "made with masks"
                masks = aligned.mask.view(batch, count - 1, -1, height, width)
                details["masks"] = [{"l1": mask} for mask in masks.unbind(1)]
        fused = F.leaky_relu(self.fuse(torch.cat([part.to(reference.dtype) for part in seen], dim=1)), SLOPE)
        residual = self.enlarge(self.reconstruct(fused)).float()
        result = resize_bicubic(middle, self.scale) + residual
        return VideoPrediction(frames=result.unsqueeze(1), details=details)

    def _aligned(self, reference: Tensor, others: Tensor, middle: Tensor, frames: Tensor, flows: Tensor) -> Aligned:
        """All neighbours' features (B,T-1,C,H,W) at the reference's places, as one batch."""
        count = others.shape[1]
        flow = flows.flatten(0, 1).float()
        features = others.flatten(0, 1)
        difference = _repeat(middle, count) - warp(frames.flatten(0, 1), flow)
        seen = [_repeat(reference, count), warp(features, flow), difference.abs(), _fractions(flow)]
        hidden = self.look(torch.cat([part.to(features.dtype) for part in seen], dim=1))
        result: Aligned = self.align(features, hidden, flow)
        return result


def _others(frames: Tensor) -> Tensor:
    """(B,T,...) without the middle one."""
    middle = frames.shape[1] // 2
    return torch.cat([frames[:, :middle], frames[:, middle + 1 :]], dim=1)


def _repeat(maps: Tensor, count: int) -> Tensor:
    """(B,C,H,W) -> (B*count,C,H,W), each `count` times."""
    return maps.unsqueeze(1).expand(-1, count, -1, -1, -1).flatten(0, 1)


def _fractions(flow: Tensor) -> Tensor:
    """Where between pixels the flow points: -0.5..0.5."""
    return flow - flow.round()
