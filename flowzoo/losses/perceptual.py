"""The perceptual loss of video prediction papers: differences of VGG-19 features.

As "Comparing Correspondences" uses it: features behind ReLU 1_1 to 5_1, weights 1/32, 1/16, 1/8, 1/4 and 1, mean
absolute differences. Images go in as they are, in [-1,1], without ImageNet's mean and deviation.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowzoo.blocks.image_backbones import vgg19

WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


class PerceptualLoss(nn.Module):
    """Weighted sum of the mean absolute differences of five feature maps; gradients reach both images.

    Args:
        state_dict: VGG-19's weights by torchvision's names (see `flowzoo.checkpoints.backbones.load_backbone`); None
            leaves random ones, which is of use in tests only.
    """

    def __init__(self, state_dict: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.backbone = vgg19()
        if state_dict is not None:
            self.backbone.load_published(state_dict)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The loss of two batches (B,3,H,W) in [-1,1], H and W at least 16: a scalar."""
        return self.layers(first, second).sum()

    def layers(self, first: Tensor, second: Tensor) -> Tensor:
        """Its five weighted terms, (5,)."""
        pairs = zip(self.backbone(first), self.backbone(second), strict=True)
        return torch.stack([weight * (a - b).abs().mean() for weight, (a, b) in zip(WEIGHTS, pairs, strict=True)])
