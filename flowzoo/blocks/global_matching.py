"""Global matching: every pixel of the first map is compared with every pixel of the second.

Correlation of all pairs, a softmax over the second map's positions, and the mean position of the most probable place:
Xu et al., "GMFlow: Learning Optical Flow via Global Matching" (CVPR 2022), section 3.1, read here around the maximum
alone, so that two likely places are not mixed into one between them. Features see far by large depthwise
kernels (Liu et al., "A ConvNet for the 2020s", CVPR 2022), whose reach does not depend on the size of the image.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import Convolution, as_weights, convolution
from flowzoo.blocks.halves import halves
from flowzoo.blocks.instance_norm import joint_norm
from flowzoo.blocks.matching_attention import MatchingAttention
from flowzoo.blocks.precision import at_least_float32
from flowzoo.operators.precision import without_autocast
from flowzoo.operators.registration import is_traced

SLOPE = 0.1
KERNEL = 7
EXPANSION = 2
FIRST_SHARPNESS = 10.0
"""By which a cosine of two features is multiplied before the softmax, untrained."""
WINDOW = 2
"""The reading takes this many positions on every side of the most probable one."""
SCORES_AT_ONCE = 1 << 22
"""Numbers of the score matrix that inference holds at a time."""


class Match(NamedTuple):
    """Where the pixels of the first map are in the second.

    Attributes:
        flow: (B,2,h,w), x then y, pixels of the map.
        confidence: (B,1,h,w) in 0..1, the probability of the positions that were read.
    """

    flow: Tensor
    confidence: Tensor


class WideBlock(nn.Module):
    """Large depthwise kernel, two pointwise layers, and the input on top: (B,C,h,w) -> (B,C,h,w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2, groups=channels)
        self.widen = convolution(channels, EXPANSION * channels, kernel=1)
        self.narrow = convolution(EXPANSION * channels, channels, kernel=1)

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        found: Tensor = maps + self.narrow(self.widen.activated(self.look(as_weights(maps, self.look.weight)), SLOPE))
        return found


class MatchingFeatures(nn.Module):
    """Features to compare from the pyramid's maps: fine to coarse, each half the size of the one before.

    Args:
        inputs: channels of the maps.
        channels: inside.
        outputs: of the features.
        blocks: of wide kernels, at the size of the finest map.
        attention: blocks of attention over both images, at half that size (`MatchingAttention`).
    """

    def __init__(self, inputs: tuple[int, ...], channels: int, outputs: int, blocks: int, attention: int = 0) -> None:
        super().__init__()
        self.entries = nn.ModuleList(convolution(before, channels, kernel=1) for before in inputs)
        self.blocks = nn.ModuleList(WideBlock(channels) for _ in range(blocks))
        self.out = convolution(channels, outputs, kernel=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        self.attention = MatchingAttention(channels, attention) if attention else None

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Maps (2B,C_i,h_i,w_i), both images' stacked -> features (2B,outputs,h,w) of length 1."""
        total: Tensor | None = None
        for index, (entry, level) in enumerate(zip(reversed(self.entries), reversed(levels), strict=True), start=1):
            own = normalised(entry(level))
            if total is not None:
                own = own + F.interpolate(total, own.shape[-2:], mode="bilinear", align_corners=False)
            total = own
            if self.attention is not None and index == len(levels) - 1:
                total = self.attention(total)
        assert total is not None, "a pyramid has levels"
        x = total.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        return F.normalize(at_least_float32(self.out(x)), dim=1)


class GlobalMatching(nn.Module):
    """Matches of all pixels among all pixels; arguments as for `MatchingFeatures`."""

    def __init__(
        self, inputs: tuple[int, ...], channels: int = 96, outputs: int = 64, blocks: int = 3, attention: int = 0
    ) -> None:
        super().__init__()
        self.features = MatchingFeatures(inputs, channels, outputs, blocks, attention)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(FIRST_SHARPNESS)))

    def scores(self, features: Tensor) -> Tensor:
        """Features (2B,C,h,w) -> (B,h,w,h*w): for every pixel, logits of the second map's positions row by row."""
        first, second = self._sides(features)
        return _products(first, second)

    def forward(self, features: Tensor) -> Match:
        """The matches of features (2B,C,h,w), a few rows of the first map at a time."""
        first, second = self._sides(features)
        batch, height, width, _ = first.shape
        if is_traced():  # a loop would tie the program to the size it was traced with
            return read_scores(_products(first, second), (height, width))
        rows = max(1, SCORES_AT_ONCE // (batch * height * width * width))
        parts = [
            read_scores(_products(first[:, top : top + rows], second), (height, width), top)
            for top in range(0, height, rows)
        ]
        return Match(*(torch.cat(column, dim=2) for column in zip(*parts, strict=True)))

    def _sides(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The first images' features, sharpened, (B,h,w,C), and the second ones' (B,C,h*w)."""
        first, second = halves(at_least_float32(features))
        return first.permute(0, 2, 3, 1) * self.log_sharpness.exp(), second.flatten(2)


def _products(first: Tensor, second: Tensor) -> Tensor:
    with without_autocast(first.device):  # a likelihood's exponent wants more than bfloat16 has
        found: Tensor = (first.flatten(1, 2) @ second).unflatten(1, first.shape[1:3])
    return found


def read_scores(scores: Tensor, size: tuple[int, int], top: int = 0) -> Match:
    """The mean position around the most probable one.

    Args:
        scores: (B,h,W,H*W), logits of the positions of a map of `size` (H,W) for the pixels of its rows from `top` on.
    """
    height, width = size
    best = scores.max(dim=3, keepdim=True).indices  # as argmax, in half its time; the choice has no gradient
    step = torch.arange(-WINDOW, WINDOW + 1, device=scores.device)
    dy, dx = (grid.flatten() for grid in torch.meshgrid(step, step, indexing="ij"))
    y = best // width
    x = best - y * width  # ONNX has no remainder by a size that is free
    inside = (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
    place = torch.where(inside, best + dy * width + dx, best)
    density = scores.softmax(dim=3).gather(3, place) * inside
    total = density.sum(dim=3)
    own_x = torch.arange(width, device=scores.device)
    own_y = torch.arange(top, top + scores.shape[1], device=scores.device)[:, None]
    flow_x = x[..., 0] - own_x + (density * dx).sum(dim=3) / total
    flow_y = y[..., 0] - own_y + (density * dy).sum(dim=3) / total
    return Match(torch.stack([flow_x, flow_y], dim=1), total.clamp(max=1.0)[:, None])


def normalised(maps: Tensor) -> Tensor:
    """(2B,C,h,w) with mean 0 and deviation 1 per sample, over the pixels of both of its images."""
    pairs = torch.stack(halves(at_least_float32(maps).contiguous()), dim=2)
    return torch.cat(joint_norm(pairs).unbind(2))


class CandidateChoice(nn.Module):
    """Moves a flow towards a second candidate where what is seen around both speaks for that.

    Untrained it leaves the flow as it is, to the bit.

    Args:
        evidence: channels of what is seen around one candidate.
        context: channels of what is known besides.
        width: channels inside.
    """

    def __init__(self, evidence: int, context: int, width: int = 64) -> None:
        super().__init__()
        self.reduce = convolution(2 * evidence + context, width)
        self.refine = convolution(width, width)
        self.gate = Convolution(width, 1, 3, padding=1)
        for layer in (self.reduce, self.refine):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
        for layer in (self.reduce, self.refine, self.gate):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.gate.weight)

    def forward(self, flow: Tensor, candidate: Tensor, seen: list[Tensor]) -> Tensor:
        """Flow and candidate (B,2,h,w), evidence of both and context, each (B,...,h,w) -> flow (B,2,h,w)."""
        x = torch.cat([part.to(seen[0].dtype) for part in seen], dim=1).contiguous(memory_format=torch.channels_last)
        x = self.refine.activated(self.reduce.activated(x, SLOPE), SLOPE)
        return flow + at_least_float32(self.gate(x)).tanh() * (candidate - flow)
