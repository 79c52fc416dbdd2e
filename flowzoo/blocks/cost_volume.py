"""Align and measure: the cost volume of one pyramid level; `flowzoo.zoo.shared.COST_VOLUMES` lists its kinds."""

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from flowzoo import registry
from flowzoo.blocks.alignment import warp_features
from flowzoo.operators import correlation
from flowzoo.zoo.shared import COST_VOLUMES, PyramidSettings

Warp = Callable[[Tensor, Tensor], Tensor]
"""Features (B,C,H,W) and flow (B,2,H,W) in pixels of this grid -> features read at x + flow(x)."""


class CostVolume(nn.Module):
    """(2r+1)^2 costs a pixel between the first image's features and the second's around x + flow(x).

    A kind defines `measure`, and `align` unless it warps. Where the flow is None, as at the coarsest level, features
    are compared where they are.

    Args:
        settings: `cost_range` is the radius r in steps; a kind may look at more of them.
        channels: of the features, for kinds with parameters.
        step: pixels between displacements; costs are then taken at every `step`-th pixel only.
        warp: how features are warped; networks differ in what they do outside the image.
    """

    rows_seen: int | None = None
    """Rows of the first and of the *aligned* second features that a cost depends on, on either side; None = all."""
    low_is_good: bool = False
    """Whether a match has a low cost, as a difference does, and not a high one, as a correlation."""

    def __init__(self, settings: PyramidSettings, channels: int, *, step: int = 1, warp: Warp = warp_features) -> None:
        super().__init__()
        self.radius, self.step, self.warp = settings.cost_range, step, warp
        self.outputs = (2 * self.radius + 1) ** 2

    def forward(self, first: Tensor, second: Tensor, flow: Tensor | None = None) -> Tensor:
        """(B,C,H,W) twice and flow (B,2,H,W) in pixels of this level -> (B,(2r+1)^2,ceil(H/step),ceil(W/step))."""
        return self.measure(first, self.align(second, flow), flow)

    def align(self, second: Tensor, flow: Tensor | None) -> Tensor:
        """The second image's features as `measure` takes them, of the same shape."""
        return second if flow is None else self.warp(second, flow)

    def measure(self, first: Tensor, aligned: Tensor, flow: Tensor | None) -> Tensor:
        """The costs, from the first features and what `align` made of the second ones."""
        raise TypeError(f"{type(self).__name__} does not define measure")


class WarpedCorrelation(CostVolume):
    """Correlation with warped features: equation 1 of "Improving Optical Flow on a Pyramid Level"."""

    def __init__(self, settings: PyramidSettings, channels: int, *, step: int = 1, warp: Warp = warp_features) -> None:
        super().__init__(settings, channels, step=step, warp=warp)
        self.rows_seen = self.radius * step

    def measure(self, first: Tensor, aligned: Tensor, flow: Tensor | None) -> Tensor:
        """See `CostVolume.measure`."""
        return correlation(first, aligned, self.radius, self.step, self.step)


def make_cost_volume(
    settings: PyramidSettings, channels: int, *, step: int = 1, warp: Warp = warp_features
) -> CostVolume:
    """The cost volume of the kind that the settings name; arguments as for `CostVolume`."""
    kind = registry.resolve(COST_VOLUMES[settings.cost_volume])
    return cast(CostVolume, kind(settings, channels, step=step, warp=warp))
