"""Feature pyramids: a list of convolutions a level."""

from collections.abc import Sequence

from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution, leaky

Stage = Sequence[tuple[int, int, int]]
"""Convolutions of one level: (output channels, kernel, stride) each."""


class FeaturePyramid(nn.Module):
    """Levels of features, finest first.

    Args:
        stages: the convolutions of each level; a leaky ReLU follows each.
        inputs: channels of the image.
    """

    def __init__(self, stages: Sequence[Stage], inputs: int = 3) -> None:
        super().__init__()
        levels = []
        for stage in stages:
            layers: list[nn.Module] = []
            for outputs, kernel, stride in stage:
                layers += [convolution(inputs, outputs, kernel, stride=stride), leaky()]
                inputs = outputs
            levels.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(levels)

    def forward(self, images: Tensor, *, first_kept: int = 0) -> list[Tensor | None]:
        """(B,3,H,W) -> one map a stage; the first `first_kept` are None (they only feed the next stage)."""
        features: list[Tensor | None] = []
        for index, stage in enumerate(self.stages):
            images = stage(images)
            features.append(images if index >= first_kept else None)
        return features
