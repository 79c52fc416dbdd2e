"""VGG-16 (Simonyan, Zisserman, ICLR 2015) as a feature pyramid, cut as GLU-Net does."""

from collections.abc import Collection
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution
from flowzoo.blocks.strips import in_strips

CHANNELS = (64, 64, 128, 256, 512)
_CONVOLUTIONS = (1, 1, 2, 3, 3)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGGPyramid(nn.Module):
    """Level 0 ends behind the first ReLU; levels 1 to 4 end behind a 2x2 maximum, at 1/2 to 1/16 of the size.

    Args:
        trained: whether its weights get gradients; published networks keep ImageNet's.
    """

    def __init__(self, *, trained: bool = False) -> None:
        super().__init__()
        levels = []
        inputs = 3
        for channels, count in zip(CHANNELS, _CONVOLUTIONS, strict=True):
            layers = []
            for _ in range(count):
                layers.append(convolution(inputs, channels))
                inputs = channels
            levels.append(nn.ModuleList(layers))
        self.levels = nn.ModuleList(levels)
        self.requires_grad_(trained)

    def forward(self, images: Tensor, wanted: Collection[int]) -> dict[int, Tensor]:
        """Images (B,3,H,W), normalised by `MEAN` and `DEVIATION` -> the wanted levels by number.

        Level l has size floor(H/2^l), floor(W/2^l); nothing is computed beyond the last wanted one.
        """
        order = sorted(wanted)
        strides = [2**level for level in order]
        reach = sum(count * 2 ** max(0, level - 1) for level, count in enumerate(_CONVOLUTIONS[: order[-1] + 1]))
        if any(side % strides[-1] for side in images.shape[2:]):
            return self._levels(images, wanted)
        found = in_strips(
            lambda parts: list(self._levels(parts[0], wanted).values()), [images], reach, strides, align=strides[-1]
        )
        return dict(zip(order, found, strict=True))

    def _levels(self, images: Tensor, wanted: Collection[int]) -> dict[int, Tensor]:
        features = {}
        for index, layers in enumerate(self.levels):
            if index > max(wanted):
                break
            for layer in cast(nn.ModuleList, layers):
                images = F.relu(layer(images), inplace=True)
            if index > 0:
                images = F.max_pool2d(images, 2)
            if index in wanted:
                # The next level's first ReLU works on a new tensor, so this one stays as it is.
                features[index] = images
        return features
