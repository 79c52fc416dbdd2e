"""EDVR, and the variants of it that "Understanding Deformable Alignment in Video Super-Resolution" studies.

Wang, Chan, Yu, Dong, Loy: "EDVR: Video Restoration with Enhanced Deformable Convolutional Networks", CVPR workshops
2019; Chan, Wang, Yu, Dong, Loy, AAAI 2021.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo import registry
from flowzoo.blocks.convolution import convolution, layout
from flowzoo.blocks.offset_alignment import Aligned
from flowzoo.blocks.padding import pad_reflected
from flowzoo.blocks.pcd_alignment import ImageAlignment, PCDAlignment
from flowzoo.blocks.predeblur import Predeblur
from flowzoo.blocks.residual_block import residual_blocks
from flowzoo.blocks.sub_pixels import enlarged, in_bands
from flowzoo.blocks.temporal_spatial_attention import TSAFusion
from flowzoo.errors import InputError
from flowzoo.network import VideoNetwork, VideoPrediction
from flowzoo.zoo.edvr import EDVRSettings


class EDVR(VideoNetwork):
    """See `flowzoo.zoo.edvr.EDVRSettings` for what can be changed."""

    def __init__(self, settings: EDVRSettings) -> None:
        super().__init__()
        check(settings)
        self.settings, self.frames_in = settings, settings.frames
        self.scale = 1 if settings.hr_in else 4
        self.multiple = 16 if settings.hr_in else 4
        channels = settings.channels
        self.bytes_per_pixel = _bytes_per_pixel(settings)
        if settings.predeblur:
            self.predeblur = Predeblur(channels, settings.hr_in)
            self.conv_1x1 = nn.Conv2d(channels, channels, 1)
        else:
            self.conv_first = convolution(3, channels)
        self.feature_extraction = residual_blocks(channels, settings.extract_blocks)
        self.conv_l2_1, self.conv_l2_2 = convolution(channels, channels, stride=2), convolution(channels, channels)
        self.conv_l3_1, self.conv_l3_2 = convolution(channels, channels, stride=2), convolution(channels, channels)
        self.pcd_align: PCDAlignment | ImageAlignment
        if settings.alignment == "image":
            self.pcd_align = ImageAlignment(channels)
        else:
            self.pcd_align = PCDAlignment(
                channels,
                groups=settings.groups,
                offsets=settings.offsets,
                modulated=settings.modulated,
                form=settings.alignment,
            )
        if settings.flow != "none":
            self.flow = registry.build(settings.flow).eval().requires_grad_(False)
        self.fusion = TSAFusion(channels, settings.frames) if settings.tsa else _plain_fusion(channels, settings.frames)
        self.reconstruction = residual_blocks(channels, settings.reconstruct_blocks)
        self.upconv1, self.upconv2 = convolution(channels, 4 * channels), convolution(channels, 256)
        self.conv_hr, self.conv_last = convolution(64, 64), convolution(64, 3)

    def train(self, mode: bool = True) -> "EDVR":
        """As for any module, but a flow network inside stays as it is used."""
        super().train(mode)
        if self.settings.flow != "none":
            self.flow.eval()
        return self

    def predict(self, frames: Tensor) -> VideoPrediction:
        """See `VideoNetwork.forward`: (B,T,3,H,W) -> the middle frame enlarged, (B,1,3,4H,4W).

        While training, `details` has each frame's offsets and masks: "offsets" = [{"l1": (B,2*G*N,h,w), ...}, ...].
        """
        height, width = frames.shape[-2:]
        frames = pad_reflected(frames, self.multiple)
        flows = self.flows(frames)
        levels = self._levels(frames)
        reference = [level[:, frames.shape[1] // 2] for level in levels]
        aligned, offsets = [], []
        for index in range(frames.shape[1]):
            neighbour = [level[:, index] for level in levels]
            features, found = self._align(
                frames[:, index], neighbour, reference, None if flows is None else flows[index]
            )
            aligned.append(features)
            if self.keeps_details:
                offsets.append(found)
        result = self._reconstruct(aligned, frames[:, frames.shape[1] // 2])
        details: dict[str, Any] = {}
        if self.keeps_details:
            details["offsets"] = [{k: a.offset for k, a in entry.items()} for entry in offsets]
            details["masks"] = [{k: a.mask for k, a in entry.items() if a.mask is not None} for entry in offsets]
        return VideoPrediction(result[..., : height * self.scale, : width * self.scale].unsqueeze(1), details)

    @torch.no_grad()
    def flows(self, frames: Tensor) -> list[Tensor] | None:
        """(B,2,H,W) from the middle frame to each frame, zero for itself; None where no flow network is set."""
        if self.settings.flow == "none":
            return None
        middle = frames.shape[1] // 2
        found = []
        for index, frame in enumerate(frames.unbind(1)):
            still = index == middle
            flow = (
                frame.new_zeros(len(frame), 2, *frame.shape[2:]) if still else self.flow(frames[:, middle], frame).flow
            )
            found.append(flow.float())
        return found

    def _levels(self, frames: Tensor) -> list[Tensor]:
        """Features of all frames: (B,T,C,h,w) of l1, l2, l3."""
        batch, count = frames.shape[:2]
        fine = self._features(frames.flatten(0, 1))
        middle = self.conv_l2_2.activated(self.conv_l2_1.activated(fine))
        coarse = self.conv_l3_2.activated(self.conv_l3_1.activated(middle))
        return [level.view(batch, count, *level.shape[1:]) for level in (fine, middle, coarse)]

    def _features(self, images: Tensor) -> Tensor:
        """(B,3,H,W) -> l1, (B,C,H,W), of a quarter of the size with `hr_in`."""
        images = layout(images)
        if self.settings.predeblur:
            first = self.conv_1x1(self.predeblur(images))
        else:
            first = self.conv_first.activated(images)
        result: Tensor = self.feature_extraction(first)
        return result

    def _align(
        self, image: Tensor, neighbour: list[Tensor], reference: list[Tensor], flow: Tensor | None
    ) -> tuple[Tensor, dict[str, Aligned]]:
        if isinstance(self.pcd_align, ImageAlignment):
            warped = self.pcd_align(image, neighbour, reference, flow)
            return self._features(warped.features), {"l1": warped}
        features, found = self.pcd_align(neighbour, reference, flow)
        return features, found

    def _reconstruct(self, aligned: list[Tensor], middle: Tensor) -> Tensor:
        """Aligned features, T times (B,C,h,w), and the middle frame -> the result."""
        fused = self.fusion(aligned) if self.settings.tsa else self.fusion(torch.cat(aligned, dim=1))
        maps = self.reconstruction(fused)
        maps = in_bands(self._finish, enlarged(self.upconv1, maps), 2)
        if not self.settings.hr_in:
            middle = F.interpolate(middle, scale_factor=4, mode="bilinear", align_corners=False)
        return maps.float() + middle

    def _finish(self, maps: Tensor) -> Tensor:
        """(B,64,h,w) of half the result's size -> colours (B,3,2h,2w) of the result's."""
        result: Tensor = self.conv_last(self.conv_hr.activated(enlarged(self.upconv2, maps)))
        return result


def _bytes_per_pixel(settings: EDVRSettings) -> int:
    """Measured: all frames' features, the largest maps of one frame; the decomposed form stacks all warps."""
    stacked = settings.offsets if settings.alignment == "decomposed" else 0
    return settings.channels * (190 + 14 * settings.frames + 2 * stacked)


def _plain_fusion(channels: int, frames: int) -> nn.Conv2d:
    return nn.Conv2d(frames * channels, channels, 1)


def check(settings: EDVRSettings) -> None:
    """Refuse settings that do not make a network.

    Raises:
        InputError: naming the setting.
    """
    if settings.frames < 1 or settings.frames % 2 == 0:
        raise InputError(f"frames must be odd, got {settings.frames}")
    if settings.hr_in and not settings.predeblur:
        raise InputError("hr_in needs predeblur=true: the published network has no other way down to a quarter")
    if settings.hr_in and (settings.flow != "none" or settings.alignment == "image"):
        raise InputError("hr_in aligns at a quarter of the frames' size: it takes no flow and no image alignment")
    if settings.flow != "none" and registry.card(settings.flow).task != "flow":
        raise InputError(f"flow must be a flow network of the zoo or none, got {settings.flow!r}")
