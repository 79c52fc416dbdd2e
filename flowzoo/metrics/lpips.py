"""LPIPS 0.1 with AlexNet: learned perceptual image patch similarity.

Zhang, Isola, Efros, Shechtman, Wang: "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
2018. Low = alike. The calibration ("lin") of version 0.1 ships with this package; AlexNet's weights come from a file.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.image_backbones import alexnet

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
CHANNELS = (64, 192, 384, 256, 256)
_SMALL = 1e-10


class Lpips(nn.Module):
    """Distance of images in [-1,1].

    Args:
        backbone: AlexNet's weights by torchvision's names (see `flowzoo.checkpoints.backbones.load_backbone`).
        calibration: "linN.model.1.weight" (1,C,1,1) for N = 0..4.
    """

    def __init__(self, backbone: Mapping[str, Tensor], calibration: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.backbone = alexnet()
        self.backbone.load_published(backbone)
        for level, channels in enumerate(CHANNELS):
            weight = calibration[f"lin{level}.model.1.weight"].reshape(1, channels, 1, 1)
            self.register_buffer(f"calibration_{level}", weight.clone())
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Distances of image pairs (B,3,H,W) in [-1,1], H and W at least 31: (B,)."""
        return self.layers(first, second).sum(dim=1)

    def layers(self, first: Tensor, second: Tensor) -> Tensor:
        """The five levels' shares of the distance, (B,5)."""
        return torch.stack([level.mean(dim=(1, 2, 3)) for level in self._maps(first, second)], dim=1)

    def spatial(self, first: Tensor, second: Tensor) -> Tensor:
        """(B,1,H,W): the levels' maps enlarged bilinearly to the images' size, summed."""
        size = first.shape[-2:]
        maps = [F.interpolate(level, size, mode="bilinear", align_corners=False) for level in self._maps(first, second)]
        return torch.stack(maps).sum(dim=0)

    def _maps(self, first: Tensor, second: Tensor) -> list[Tensor]:
        pairs = zip(self.backbone(self._normal(first)), self.backbone(self._normal(second)), strict=True)
        return [
            (self.get_buffer(f"calibration_{level}") * (_unit(a) - _unit(b)).square()).sum(dim=1, keepdim=True)
            for level, (a, b) in enumerate(pairs)
        ]

    def _normal(self, images: Tensor) -> Tensor:
        return (images - self.get_buffer("shift")) / self.get_buffer("scale")


def _unit(features: Tensor) -> Tensor:
    """Features by their norm over channels; where all channels are zero the gradient is zero, not NaN."""
    squares = features.square().sum(dim=1, keepdim=True)
    empty = squares == 0
    norm = torch.where(empty, torch.zeros_like(squares), torch.where(empty, torch.ones_like(squares), squares).sqrt())
    return features / (norm + _SMALL)
