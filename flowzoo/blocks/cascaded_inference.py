"""Cascaded flow inference: descriptor matching (M), then sub-pixel refinement (S).

Hui, Tang, Loy, "A Lightweight Optical Flow CNN", section 3.1. Flow stays in one unit for the whole pyramid; `scale`
turns it into pixels of the level where features are warped.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import SLOPE, convolution, convolution_stack, join, stack_reach, training_layout
from flowzoo.blocks.cost_volume import CostVolume
from flowzoo.blocks.strips import in_strips
from flowzoo.blocks.upsampling import BilinearDoubling


class Matching(nn.Module):
    """M: a flow residual from the cost volume alone.

    Args:
        cost_volume: align and measure; with a step of 2 its sparse costs are enlarged bilinearly.
        channels: hidden 3x3 convolutions.
        kernel: side of the last convolution.
        extra: channels of further inputs (flow cues).
        warping: whether the volume is built around x + flow(x); without, around x.
    """

    def __init__(
        self,
        cost_volume: CostVolume,
        channels: Sequence[int],
        kernel: int,
        *,
        extra: int = 0,
        warping: bool = True,
    ) -> None:
        super().__init__()
        self.cost_volume, self.warping = cost_volume, warping
        self.enlarge = BilinearDoubling(cost_volume.outputs) if cost_volume.step == 2 else None
        self.layers = convolution_stack(cost_volume.outputs + extra, channels)
        self.residual = convolution(channels[-1], 2, kernel)

    def forward(self, first: Tensor, second: Tensor, flow: Tensor | None, scale: float, extra: list[Tensor]) -> Tensor:
        """Features (B,C,H,W) twice, flow (B,2,H,W) or None -> flow (B,2,H,W)."""
        volume = self.cost_volume
        around = flow * scale if self.warping and flow is not None else None
        if volume.rows_seen is not None:
            second, around = volume.align(second, around), None
            reach = volume.rows_seen + 2 * volume.step + stack_reach(self.layers, self.residual)
            (residual,) = in_strips(
                lambda maps: [self._residual(volume(maps[0], maps[1]), maps[2:])],
                [first, second, *extra],
                reach,
                align=2 * volume.step,
            )
        else:
            residual = self._residual(volume(first, second, around), extra)
        return residual if flow is None else residual + flow

    def _residual(self, costs: Tensor, extra: list[Tensor]) -> Tensor:
        costs = F.leaky_relu(costs, SLOPE)
        if self.enlarge is not None:
            costs = self.enlarge(costs)
        residual: Tensor = self.residual(self.layers(join([costs, *extra]) if extra else training_layout(costs)))
        return residual


class SubpixelRefinement(nn.Module):
    """S: a flow residual from both images' features and the flow so far.

    Args:
        features: channels of each image's features.
        channels, kernel: as for `Matching`.
        with_flow: whether a flow comes in (not at the coarsest level of a network without matching).
    """

    def __init__(
        self, features: int, channels: Sequence[int], kernel: int, *, with_flow: bool = True, extra: int = 0
    ) -> None:
        super().__init__()
        self.layers = convolution_stack(2 * features + (2 if with_flow else 0) + extra, channels)
        self.residual = convolution(channels[-1], 2, kernel)

    def forward(self, first: Tensor, second: Tensor, flow: Tensor | None, extra: list[Tensor]) -> tuple[Tensor, Tensor]:
        """First features and *aligned* second ones (B,C,H,W), flow (B,2,H,W) or None -> (flow, last hidden map)."""
        inputs = [first, second, *([] if flow is None else [flow]), *extra]
        residual, hidden = in_strips(self._residual, inputs, stack_reach(self.layers, self.residual), (1, 1))
        return (residual if flow is None else residual + flow), hidden

    def _residual(self, inputs: list[Tensor]) -> list[Tensor]:
        hidden = self.layers(join(inputs))
        return [self.residual(hidden), hidden]


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
