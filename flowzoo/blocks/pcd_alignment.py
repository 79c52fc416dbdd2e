"""Pyramid, cascading and deformable alignment. Wang, Chan, Yu, Dong, Loy: EDVR, CVPR workshops 2019, section 3.2.

Levels are named as in the published weights: l1 has the frames' size, l2 a half, l3 a quarter.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import SLOPE, Convolution, convolution
from flowzoo.blocks.offset_alignment import FORMS, Aligned, Form, LearnedOffsets
from flowzoo.operators import warp

LEVELS = ("l3", "l2", "l1")


def doubled(maps: Tensor) -> Tensor:
    """Twice the size, bilinear with half-pixel centres."""
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


class OffsetPyramid(nn.Module):
    """What offsets are predicted from, coarse to fine: features of neighbour and reference, and the level above's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offset_conv1 = nn.ModuleDict({level: convolution(2 * channels, channels) for level in LEVELS})
        self.offset_conv2 = nn.ModuleDict(
            {level: convolution(channels if level == "l3" else 2 * channels, channels) for level in LEVELS}
        )
        self.offset_conv3 = nn.ModuleDict({level: convolution(channels, channels) for level in LEVELS[1:]})

    def level(self, name: str, neighbour: Tensor, reference: Tensor, above: Tensor | None) -> Tensor:
        """(B,C,h,w) of a level, with what this gave for the level above (half the size)."""
        hidden = _activated(self.offset_conv1[name], torch.cat([neighbour, reference], dim=1))
        if above is None:
            return _activated(self.offset_conv2[name], hidden)
        hidden = _activated(self.offset_conv2[name], torch.cat([hidden, 2 * doubled(above)], dim=1))
        return _activated(self.offset_conv3[name], hidden)


class PCDAlignment(OffsetPyramid):
    """Aligns a neighbour's three feature levels to the reference's.

    Args:
        channels: of the features.
        groups, offsets, modulated: see `LearnedOffsets`.
        form: how the deformable convolutions are computed.
    """

    def __init__(
        self, channels: int, *, groups: int = 8, offsets: int = 9, modulated: bool = True, form: Form = "deformable"
    ) -> None:
        super().__init__(channels)

        def alignment() -> LearnedOffsets:
            return FORMS[form](channels, channels, channels, groups=groups, offsets=offsets, modulated=modulated)

        self.dcn_pack = nn.ModuleDict({level: alignment() for level in LEVELS})
        self.feat_conv = nn.ModuleDict({level: convolution(2 * channels, channels) for level in LEVELS[1:]})
        self.cas_offset_conv1 = convolution(2 * channels, channels)
        self.cas_offset_conv2 = convolution(channels, channels)
        self.cas_dcnpack = alignment()

    def forward(
        self, neighbour: Sequence[Tensor], reference: Sequence[Tensor], flow: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Aligned]]:
        """Align one neighbour.

        Args:
            neighbour: features (B,C,H/2^(l-1),W/2^(l-1)) of l1, l2, l3.
            reference: likewise.
            flow: (B,2,H,W), from the reference to the neighbour, that the pyramid's offsets start from; None = zero.

        Returns:
            (B,C,H,W), and what each alignment gave ("l3", "l2", "l1", "cascade").
        """
        found: dict[str, Aligned] = {}
        hidden: Tensor | None = None
        aligned = above = neighbour[-1]
        for index, name in zip((2, 1, 0), LEVELS, strict=True):
            hidden = self.level(name, neighbour[index], reference[index], hidden)
            base = None if flow is None else level_flow(flow, index + 1)
            found[name] = self.dcn_pack[name](neighbour[index], hidden, base)
            aligned = found[name].features
            if name != "l3":
                joined = torch.cat([aligned, doubled(above)], dim=1)
                aligned = above = _activated(self.feat_conv[name], joined, 1.0 if name == "l1" else SLOPE)
            else:
                aligned = above = F.leaky_relu(aligned, SLOPE)
        hidden = self.cas_offset_conv1.activated(torch.cat([aligned, reference[0]], dim=1))
        hidden = self.cas_offset_conv2.activated(hidden)
        found["cascade"] = self.cas_dcnpack(aligned, hidden)
        return F.leaky_relu(found["cascade"].features, SLOPE), found


class ImageAlignment(OffsetPyramid):
    """The comparison of the paper's Table 4: one learned flow a pixel, from the same pyramid, warps the *image*.

    Features of the warped image then stand where the aligned features would; the paper leaves the details open.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.flow = convolution(channels, 2)
        nn.init.zeros_(self.flow.weight)
        assert self.flow.bias is not None, "made with a bias"
        nn.init.zeros_(self.flow.bias)

    def forward(
        self, image: Tensor, neighbour: Sequence[Tensor], reference: Sequence[Tensor], flow: Tensor | None = None
    ) -> Aligned:
        """The neighbour's image (B,3,H,W) at the reference's places; other arguments as for `PCDAlignment`."""
        hidden: Tensor | None = None
        for index, name in zip((2, 1, 0), LEVELS, strict=True):
            hidden = self.level(name, neighbour[index], reference[index], hidden)
        assert hidden is not None, "there are three levels"
        learned = self.flow(hidden).float()
        if flow is not None:
            learned = learned + flow
        return Aligned(warp(image, learned), learned.flip(1), None)


def _activated(layer: nn.Module, maps: Tensor, slope: float = SLOPE) -> Tensor:
    assert isinstance(layer, Convolution), "what these dictionaries are made of"
    return layer.activated(maps, slope)


def level_flow(flow: Tensor, level: int) -> Tensor:
    """Flow (B,2,H,W) at level l of the pyramid: mean over 2^(l-1) squared pixels, in pixels of that level."""
    factor = 2 ** (level - 1)
    return flow if factor == 1 else F.avg_pool2d(flow, factor) / factor
