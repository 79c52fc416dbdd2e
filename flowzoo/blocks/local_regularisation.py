"""Feature-driven local convolution (f-lcon), the flow regulariser of the LiteFlowNets.

Hui, Tang, Loy, "A Lightweight Optical Flow CNN", section 3.2: each pixel's flow becomes a weighted mean of its
window, with weights softmax(-D^2) from a network that sees features, the flow and the brightness error.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowzoo.blocks.convolution import ConvolutionStack, convolution, convolution_stack, join, leaky
from flowzoo.blocks.precision import at_least_float32
from flowzoo.blocks.strips import Rows, rows_seen, strip_by_strip
from flowzoo.operators import local_convolution, warp


def brightness_error(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """L2 norm over colours of first(x) - second(x + flow): (B,3,H,W) twice, flow in pixels -> (B,1,H,W) >= 0."""
    difference = first - warp(second, flow)
    # The small number keeps the derivative finite where both images agree exactly.
    return (difference.square().sum(1, keepdim=True) + 1e-14).sqrt()


def distance_layers(inputs: int, window: int) -> nn.Sequential:
    """Convolutions to window^2 distances: one 3x3, or a vertical and a horizontal one for wider windows."""
    taps = window * window
    if window <= 3:
        return nn.Sequential(convolution(inputs, taps, window))
    return nn.Sequential(convolution(inputs, taps, (window, 1)), convolution(taps, taps, (1, window)))


class FlowFilter(nn.Module):
    """Applies the local filter softmax(-D^2) to a flow.

    Published LiteFlowNet checkpoints carry a scale per window entry and a bias for x and for y, all ones and zeros;
    they are kept as buffers so that such a file is reproduced whatever it holds.
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window, self.rows_seen = window, window // 2
        taps = window * window
        self.register_buffer("scale", torch.ones(2, taps))
        self.register_buffer("bias", torch.zeros(2))
        self.plain = True
        self.register_load_state_dict_post_hook(_note_whether_plain)  # type: ignore[no-untyped-call]

    def forward(self, distances: Tensor, flow: Tensor) -> Tensor:
        """Distances (B,window^2,H,W) and flow (B,2,H,W) -> (B,2,H,W) in the same units; windows are zero padded."""
        weights = torch.softmax(-at_least_float32(distances).square(), dim=1)  # equation 8
        if self.plain:
            return local_convolution(flow, weights, self.window)
        scale = self.scale.view(2, 1, -1, 1, 1)
        parts = [local_convolution(flow[:, i : i + 1], weights * scale[i], self.window) for i in (0, 1)]
        # The bias is added before the softmax' division: by its denominator, relative to the largest entry.
        return torch.cat(parts, dim=1) + self.bias.view(1, 2, 1, 1) * weights.amax(1, keepdim=True)


def _note_whether_plain(module: nn.Module, _: object) -> None:
    if isinstance(module, FlowFilter):
        module.plain = bool((module.scale == 1).all() and (module.bias == 0).all())


class LocalRegularisation(nn.Module):
    """The unit R of one level.

    Args:
        features: channels of the first image's features.
        projection: channels of a 1x1 layer for them; 0 = none.
        channels: hidden 3x3 convolutions.
        window: side of the filter window in pixels.
        scale: pixels of the level per unit of flow.
    """

    def __init__(self, features: int, projection: int, channels: Sequence[int], window: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.project: nn.Module = nn.Identity()
        if projection:
            self.project = ConvolutionStack(convolution(features, projection, 1), leaky())
            features = projection
        self.layers = convolution_stack(3 + features, channels)
        self.distance = distance_layers(channels[-1], window)
        self.filter = FlowFilter(window)
        self.rows = Rows(rows_seen(self.layers, self.distance, self.filter))

    def forward(self, features: Tensor, first: Tensor, second: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Equation 6: features (B,C,H,W) of the first image, both images (B,3,H,W), flow (B,2,H,W) -> a smoother flow.

        Returns the last hidden map (B,D,H,W), too.
        """
        error = brightness_error(first, second, flow * self.scale)
        centred = flow - flow.mean((2, 3), keepdim=True)
        filtered, hidden = self._filtered(features, error, centred, flow)
        return filtered, hidden

    @strip_by_strip
    def _filtered(self, features: Tensor, error: Tensor, centred: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.layers(join(error, centred, self.project(features)))  # equation 7
        return self.filter(self.distance(hidden), flow), hidden
