"""Cost volumes that read the second features at x + flow(x) + d, without warping them.

Hofinger et al.: "Improving Optical Flow on a Pyramid Level", ECCV 2020, section 3.2.
"""

from typing import Literal

from torch import Tensor

from flowzoo.blocks.cost_volume import CostVolume
from flowzoo.operators import sampled_cost_volume


class SampledCorrelation(CostVolume):
    """Equation 2: the products of features."""

    MEASURE: Literal["correlation", "sad"] = "correlation"

    def align(self, second: Tensor, flow: Tensor | None) -> Tensor:
        """The second features stay as they are."""
        return second

    def measure(self, first: Tensor, aligned: Tensor, flow: Tensor | None) -> Tensor:
        """See `CostVolume.measure`."""
        if flow is None:
            flow = first.new_zeros((first.shape[0], 2, *first.shape[2:]))
        return sampled_cost_volume(first, aligned, flow, self.radius, self.step, self.step, self.MEASURE)


class SampledDifference(SampledCorrelation):
    """Equation 3: the absolute differences of features."""

    MEASURE = "sad"
    low_is_good = True
