"""Feature pyramids: a list of convolutions a level."""

from collections.abc import Sequence

from torch import Tensor, nn

from flowzoo.blocks.convolution import ConvolutionStack, convolution, leaky, training_layout
from flowzoo.blocks.strips import in_strips

EARLY_STAGES = 3
"""Stages that run in strips on large frames."""

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
            levels.append(ConvolutionStack(*layers))
        self.stages = nn.ModuleList(levels)
        self.strides: list[int] = []
        self.halo, stride = 0, 1
        for index, stage in enumerate(stages):
            for _, kernel, step in stage:
                self.halo += (kernel // 2) * stride if index < EARLY_STAGES else 0
                stride *= step
            self.strides.append(stride)

    def forward(self, images: Tensor, *, first_kept: int = 0) -> list[Tensor | None]:
        """(B,3,H,W) -> one map a stage; the first `first_kept` are None (they only feed the next stage)."""
        kept, images = min(first_kept, EARLY_STAGES - 1), training_layout(images)
        strides = self.strides[kept:EARLY_STAGES]
        early = in_strips(lambda maps: self._early(maps[0], kept), [images], self.halo, strides, align=strides[-1])
        features: list[Tensor | None] = [None] * kept + early
        for stage in self.stages[EARLY_STAGES:]:
            features.append(stage(features[-1]))
        return [None] * first_kept + features[first_kept:]

    def _early(self, images: Tensor, kept: int) -> list[Tensor]:
        """The stages at high resolution, where nearly all of the memory goes; the outputs from stage `kept` on."""
        features = []
        for index, stage in enumerate(self.stages[:EARLY_STAGES]):
            images = stage(images)
            if index >= kept:
                features.append(images)
        return features
