"""Cascaded flow inference: descriptor matching (M), then sub-pixel refinement (S).

Hui, Tang, Loy, "A Lightweight Optical Flow CNN", section 3.1. Flow stays in one unit for the whole pyramid; `scale`
turns it into pixels of the level, where features are warped.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.alignment import warp_features
from flowzoo.blocks.convolution import SLOPE, convolution, convolution_stack, join
from flowzoo.blocks.cost_volume import CostVolume
from flowzoo.blocks.precision import flow_head
from flowzoo.blocks.strips import Rows, rows_seen, strip_by_strip
from flowzoo.blocks.upsampling import BilinearDoubling


class Matching(nn.Module):
    """M: a flow residual from the cost volume alone.

    Args:
        cost_volume: align and measure; with a step of 2 its sparse costs are enlarged bilinearly.
        channels: hidden 3x3 convolutions.
        kernel: side of the last convolution.
        scale: pixels of the level per unit of flow; None = features are not warped.
        cues: channels of flow cues.
    """

    def __init__(
        self, cost_volume: CostVolume, channels: Sequence[int], kernel: int, *, scale: float | None, cues: int = 0
    ) -> None:
        super().__init__()
        self.cost_volume, self.scale = cost_volume, scale
        self.enlarge = BilinearDoubling(cost_volume.outputs) if cost_volume.step == 2 else None
        self.layers = convolution_stack(cost_volume.outputs + cues, channels)
        self.residual = flow_head(channels[-1], kernel)
        seen = rows_seen(cost_volume, self.enlarge, self.layers, self.residual)
        self.rows = Rows(seen, grid=2 * cost_volume.step)

    def forward(self, first: Tensor, second: Tensor, flow: Tensor | None, cues: Tensor | None) -> Tensor:
        """Equation 3: features (B,C,H,W) twice, flow (B,2,H,W) or None, cues (B,6,H,W) or None -> flow (B,2,H,W)."""
        around = None if flow is None or self.scale is None else flow * self.scale
        (residual,) = self._residual(first, self.cost_volume.align(second, around), around, cues)
        return residual if flow is None else residual + flow

    @strip_by_strip
    def _residual(self, first: Tensor, aligned: Tensor, around: Tensor | None, cues: Tensor | None) -> list[Tensor]:
        costs = F.leaky_relu(self.cost_volume.measure(first, aligned, around), SLOPE)  # equation 2
        if self.enlarge is not None:
            costs = self.enlarge(costs)
        return [self.residual(self.layers(join(costs, cues)))]


class SubpixelRefinement(nn.Module):
    """S: a flow residual from both images' features and the flow so far.

    Args:
        features: channels of each image's features.
        channels, kernel, scale, cues: as for `Matching`.
        with_flow: whether a flow comes in (not at the coarsest level of a network without matching).
    """

    def __init__(
        self,
        features: int,
        channels: Sequence[int],
        kernel: int,
        *,
        scale: float | None,
        with_flow: bool = True,
        cues: int = 0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.layers = convolution_stack(2 * features + (2 if with_flow else 0) + cues, channels)
        self.residual = flow_head(channels[-1], kernel)
        self.rows = Rows(rows_seen(self.layers, self.residual))

    def forward(self, first: Tensor, second: Tensor, flow: Tensor | None, cues: Tensor | None) -> tuple[Tensor, Tensor]:
        """Equation 4: as `Matching.forward`; returns the last hidden map (B,D,H,W), too."""
        if flow is not None and self.scale is not None:
            second = warp_features(second, flow * self.scale)
        residual, hidden = self._residual(first, second, flow, cues)
        return (residual if flow is None else residual + flow), hidden

    @strip_by_strip
    def _residual(
        self, first: Tensor, warped: Tensor, flow: Tensor | None, cues: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        hidden = self.layers(join(first, warped, flow, cues))
        return self.residual(hidden), hidden


class SharedProjection(nn.Module):
    """A 1x1 layer in front of M and S, shared by both.

    Files may store it twice. The difference between S's copy and M's is kept as a buffer, zero in published ones.
    """

    subpixel_weight_offset: Tensor
    subpixel_bias_offset: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = convolution(inputs, outputs, 1)
        self.register_buffer("subpixel_weight_offset", torch.zeros_like(self.layer.weight))
        self.register_buffer("subpixel_bias_offset", torch.zeros(outputs))
        self.shared = True
        self.register_load_state_dict_post_hook(_note_whether_shared)  # type: ignore[no-untyped-call]

    def forward(self, features: Tensor) -> Tensor:
        """What M sees: (B,inputs,H,W) -> (B,outputs,H,W)."""
        return F.leaky_relu(self.layer(features), SLOPE, inplace=True)

    def for_subpixel(self, features: Tensor, matching: Tensor) -> Tensor:
        """What S sees; `matching` is what M saw of the same features."""
        if self.shared:
            return matching
        offset = F.conv2d(features, self.subpixel_weight_offset, self.subpixel_bias_offset)
        return F.leaky_relu(self.layer(features) + offset, SLOPE)


def _note_whether_shared(module: nn.Module, _: object) -> None:
    if isinstance(module, SharedProjection):
        module.shared = not bool(module.subpixel_weight_offset.any() or module.subpixel_bias_offset.any())
