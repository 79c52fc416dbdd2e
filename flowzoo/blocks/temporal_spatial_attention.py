"""Temporal and spatial attention fusion. Wang, Chan, Yu, Dong, Loy: EDVR, CVPR workshops 2019, section 3.3."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import SLOPE, convolution
from flowzoo.blocks.pcd_alignment import doubled


class TSAFusion(nn.Module):
    """Aligned features of T frames -> one map: frames weighed by similarity, then a spatial attention pyramid."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.temporal_attn1, self.temporal_attn2 = convolution(channels, channels), convolution(channels, channels)
        self.feat_fusion = nn.Conv2d(frames * channels, channels, 1)
        self.spatial_attn1 = nn.Conv2d(frames * channels, channels, 1)
        self.spatial_attn2 = nn.Conv2d(2 * channels, channels, 1)
        self.spatial_attn3 = convolution(channels, channels)
        self.spatial_attn4 = nn.Conv2d(channels, channels, 1)
        self.spatial_attn5 = convolution(channels, channels)
        self.spatial_attn_l1 = nn.Conv2d(channels, channels, 1)
        self.spatial_attn_l2 = convolution(2 * channels, channels)
        self.spatial_attn_l3 = convolution(channels, channels)
        self.spatial_attn_add1 = nn.Conv2d(channels, channels, 1)
        self.spatial_attn_add2 = nn.Conv2d(channels, channels, 1)

    def forward(self, aligned: Sequence[Tensor]) -> Tensor:
        """T times (B,C,H,W), H and W multiples of 4 -> (B,C,H,W)."""
        weighed = self._weighed(aligned)
        fused = _activated(self.feat_fusion(weighed))
        attention = _activated(self.spatial_attn1(weighed))
        attention = _activated(self.spatial_attn2(_pooled(attention)))
        coarse = _activated(self.spatial_attn_l1(attention))
        coarse = self.spatial_attn_l2.activated(_pooled(coarse))
        coarse = doubled(self.spatial_attn_l3.activated(coarse))
        attention = self.spatial_attn3.activated(attention) + coarse
        attention = doubled(_activated(self.spatial_attn4(attention)))
        attention = self.spatial_attn5(attention)
        added = self.spatial_attn_add2(_activated(self.spatial_attn_add1(attention)))
        result: Tensor = fused * torch.sigmoid(attention) * 2 + added
        return result

    def _weighed(self, aligned: Sequence[Tensor]) -> Tensor:
        """Each frame times its similarity to the middle one, pixel by pixel: (B,T*C,H,W)."""
        reference = self.temporal_attn1(aligned[len(aligned) // 2])
        frames = []
        for frame in aligned:
            similarity = (self.temporal_attn2(frame) * reference).sum(dim=1, keepdim=True)
            frames.append(frame * torch.sigmoid(similarity))
        return torch.cat(frames, dim=1)


def _activated(maps: Tensor) -> Tensor:
    return F.leaky_relu(maps, SLOPE, inplace=True)


def _pooled(maps: Tensor) -> Tensor:
    """Half the size: maxima and means (which count the padding), side by side."""
    return torch.cat([F.max_pool2d(maps, 3, 2, padding=1), F.avg_pool2d(maps, 3, 2, padding=1)], dim=1)
