"""Deep layer aggregation: the DLA-34 backbone with one more level, as HD3 uses it.

Yu, Wang, Shelhamer, Darrell: "Deep Layer Aggregation", CVPR 2018, section 3 (hierarchical deep aggregation).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import layout, untraced_inference
from flowzoo.blocks.normalised_convolution import NormalisedConvolution

CHANNELS = (16, 32, 64, 128, 256, 512, 512)
"""Of levels 0 to 6; level k has 1/2^k of the image's size."""
DEPTHS = (1, 2, 2, 1, 1)
"""Of the trees, levels 2 to 6."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions; the skip is added before the last ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = NormalisedConvolution(inputs, outputs, stride=stride)
        self.second = NormalisedConvolution(outputs, outputs, active=False)

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        """(B,inputs,H,W) and the skip (B,outputs,H/stride,W/stride) -> the skip's shape."""
        return F.relu(self.second(self.first(maps)).add_(skip), inplace=True)


class Tree(nn.Module):
    """Two blocks (or two trees) and a root that aggregates their outputs.

    Args:
        depth: 1 holds two blocks, 2 two trees of depth 1.
        stride: of the first block.
        shared: channels of the maps that are handed to the root from outside.
        rooted: whether the pooled input goes to the root as well.
    """

    def __init__(
        self, depth: int, inputs: int, outputs: int, *, stride: int = 1, shared: int = 0, rooted: bool = False
    ) -> None:
        super().__init__()
        self.stride, self.rooted = stride, rooted
        if rooted:
            shared += inputs
        self.first: nn.Module
        self.second: nn.Module
        self.root: NormalisedConvolution | None = None
        if depth == 1:
            self.first = ResidualBlock(inputs, outputs, stride)
            self.second = ResidualBlock(outputs, outputs)
            self.root = NormalisedConvolution(2 * outputs + shared, outputs, 1)
        else:
            self.first = Tree(depth - 1, inputs, outputs, stride=stride)
            self.second = Tree(depth - 1, outputs, outputs, shared=shared + outputs)
        self.project = NormalisedConvolution(inputs, outputs, 1, active=False) if inputs != outputs else None
        if self.root is None and self.project is not None:
            self.project.requires_grad_(False)  # published weights hold it, deeper trees never use it

    def forward(self, maps: Tensor, shared: tuple[Tensor, ...] = ()) -> Tensor:
        """(B,inputs,H,W) and what the root gets from outside -> (B,outputs,H/stride,W/stride)."""
        pooled = F.max_pool2d(maps, self.stride) if self.stride > 1 else maps
        if self.rooted:
            shared = (*shared, pooled)
        if self.root is None:
            first = self.first(maps)
            output: Tensor = self.second(first, (*shared, first))
            return output
        first = self.first(maps, pooled if self.project is None else self.project(pooled))
        second = self.second(first, first)
        output = self.root(second, first, *shared)
        return output


class DLA34(nn.Module):
    """Backbone of seven levels with the channels `CHANNELS`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = NormalisedConvolution(3, CHANNELS[0], 7)
        self.level0 = NormalisedConvolution(CHANNELS[0], CHANNELS[0])
        self.level1 = NormalisedConvolution(CHANNELS[0], CHANNELS[1], stride=2)
        self.trees = nn.ModuleList(
            Tree(depth, CHANNELS[level - 1], CHANNELS[level], stride=2, rooted=level > 2)
            for level, depth in enumerate(DEPTHS, start=2)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B,3,H,W), sides multiples of 64 -> levels 1 to 6, finest first."""
        levels = [self._finest(images)]
        for tree in self.trees:
            levels.append(tree(levels[-1]))
        return levels

    def _finest(self, images: Tensor) -> Tensor:
        """(B,3,H,W) -> level 1.

        For inference one sample after the other: the first two maps are the largest of all, and those of one sample lie
        nearer to the processor.
        """
        samples = [layout(image) for image in images.split(1)] if untraced_inference(images) else [images]
        levels = [self.level1(self.level0(self.stem(maps))) for maps in samples]
        return levels[0] if len(levels) == 1 else torch.cat(levels)
