"""SPyNet. Ranjan, Black: "Optical Flow Estimation using a Spatial Pyramid Network", CVPR 2017.

As re-implemented in PyTorch by sniklaus and used in BasicSR and mmagic. Inside this file flow is in pixels of its
level.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from flowzoo.blocks.alignment import warp_border
from flowzoo.blocks.convolution import convolution, training_layout
from flowzoo.blocks.halves import halves
from flowzoo.blocks.image_pyramid import mean_pyramid
from flowzoo.blocks.precision import flow_head, matched_exactly
from flowzoo.blocks.resize import ratio, resize, resize_corners, round_up, scale_flow
from flowzoo.blocks.strips import Rows, rows_seen, strip_by_strip
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.zoo.spynet import SPyNetSettings

LEVELS = 6
SMALLEST = 32
"""Adaptive pyramids are not halved further than to this longer side."""
CHANNELS = (32, 64, 32, 16)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SPyNet(FlowNetwork):
    """See `flowzoo.zoo.spynet.SPyNetSettings` for what can be changed."""

    multiple = 32
    bytes_per_pixel = 490
    bytes_per_pixel_in_strips = 80
    pixels_of_strip = 120_000
    lowered_bytes_per_pixel = 270
    lowered_bytes_per_pixel_in_strips = 80
    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: SPyNetSettings) -> None:
        super().__init__()
        self.settings = settings
        self.levels = nn.ModuleList(Level() for _ in range(LEVELS))
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """See `FlowNetwork.forward`.

        Outside training autocast is for the finest level alone: a rounded one before it warps to another place.
        """
        height, width = first.shape[2:]
        inner = round_up((height, width), self.multiple)
        images = (resize(torch.cat([first, second]), inner) - self.mean) / self.deviation
        precise = torch.promote_types(images.dtype, torch.float32)
        flows: list[Tensor] = []
        # Coarse to fine, and the first module at the coarsest level; an adaptive pyramid leaves out the last ones.
        count = self._level_count(inner)
        for level, pair in zip(cast(Iterable[Level], self.levels), mean_pyramid(images, count), strict=False):
            one, two = halves(pair)
            flow = _doubled(flows[-1]) if flows else one.new_zeros((one.shape[0], 2, *one.shape[2:]), dtype=precise)
            seen = torch.cat([one, warp_border(two, flow), flow.to(one.dtype)], dim=1)
            with matched_exactly(self, seen) if len(flows) + 1 < count else nullcontext():
                (residual,) = level.residual(seen)
            flows.append(flow + residual.to(precise))
        factors = ratio(width, inner[1]), ratio(height, inner[0])
        pyramid = [
            scale_flow(flow, factors[0] * 2**index, factors[1] * 2**index)
            for index, flow in zip(range(len(flows) - 1, -1, -1), flows, strict=True)
        ]
        return FlowPrediction(flow=scale_flow(resize(flows[-1], (height, width)), *factors), pyramid=pyramid)

    def _level_count(self, inner: tuple[int, int]) -> int:
        if self.settings.levels == "six":
            return LEVELS
        side, count = max(inner), 1
        while side > SMALLEST and count < LEVELS:
            side, count = side // 2, count + 1
        return count


class Level(nn.Sequential):
    """The network of one level."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        inputs = 8
        for outputs in CHANNELS:
            layers += [convolution(inputs, outputs, 7), nn.ReLU(inplace=True)]
            inputs = outputs
        last = flow_head(inputs, 7)
        super().__init__(*layers, last)
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        with torch.no_grad():
            last.weight.mul_(0.1)  # the flow starts near zero
        self.rows = Rows(rows_seen(self))

    @strip_by_strip
    def residual(self, seen: Tensor) -> list[Tensor]:
        """Both images (the second one warped) and the flow, (B,8,H,W) -> a flow residual (B,2,H,W)."""
        return [self(training_layout(seen))]


def _doubled(flow: Tensor) -> Tensor:
    """Flow on a grid of twice the size, corners aligned, in pixels of that grid."""
    size = (2 * flow.shape[2], 2 * flow.shape[3])
    return 2 * resize_corners(flow, size)
