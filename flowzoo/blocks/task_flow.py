"""The flow network inside TOFlow: SPyNet with four levels and batch normalisation, trained for its task.

Xue, Chen, Wu, Wei, Freeman: "Video Enhancement with Task-Oriented Flow", IJCV 2019.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.halves import halves
from flowzoo.blocks.image_pyramid import mean_pyramid
from flowzoo.operators import warp

LEVELS = 4
CHANNELS = (32, 64, 32, 16)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TaskFlow(nn.Module):
    """Flow (B,2,H,W), pixels, x then y, from the first to the second images (B,3,H,W), H and W multiples of 16.

    The coarsest level has an eighth of the size; it starts from zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_residual_network() for _ in range(LEVELS))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """See the class; images are normalised already."""
        flow: Tensor | None = None
        for level, pair in zip(self.levels, mean_pyramid(torch.cat([first, second]), LEVELS), strict=True):
            one, two = halves(pair)
            if flow is None:
                flow = one.new_zeros(len(one), 2, *one.shape[2:], dtype=torch.promote_types(one.dtype, torch.float32))
            else:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            seen = torch.cat([one, warp(two, flow), flow.to(one.dtype)], dim=1)
            flow = flow + level(seen).to(flow.dtype)
        assert flow is not None, "there are four levels"
        return flow


def _residual_network() -> nn.Sequential:
    """Both images (the second one warped) and the flow, 8 channels -> a flow residual."""
    layers: list[nn.Module] = []
    inputs = 8
    for outputs in CHANNELS:
        layers += [nn.Conv2d(inputs, outputs, 7, padding=3, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.Conv2d(inputs, 2, 7, padding=3))


class ImageStatistics(nn.Module):
    """RGB in 0..1 to mean 0 and deviation 1 by ImageNet's statistics, and back."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(...,3,H,W)."""
        return (frames - self.mean) / self.deviation

    def restore(self, frames: Tensor) -> Tensor:
        """The inverse."""
        return frames * self.deviation + self.mean
