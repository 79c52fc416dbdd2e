"""GOCor as the cost volume of a pyramid level."""

from torch import Tensor

from flowzoo.blocks.alignment import warp_features
from flowzoo.blocks.cost_volume import CostVolume, Warp
from flowzoo.blocks.gocor import LocalGOCor
from flowzoo.zoo.shared import PyramidSettings


class GOCorVolume(CostVolume):
    """Correlation of warped features with GOCor's optimised filter map."""

    def __init__(self, settings: PyramidSettings, channels: int, *, step: int = 1, warp: Warp = warp_features) -> None:
        super().__init__(settings, channels, step=step, warp=warp)
        self.matcher = LocalGOCor(self.radius, settings.gocor)
        # Without the query loss a filter only depends on the window around it.
        self.rows_seen = self.radius * step

    def measure(self, first: Tensor, aligned: Tensor, flow: Tensor | None) -> Tensor:
        """See `CostVolume.measure`."""
        # The sparse volume is a dense one of the subsampled maps.
        costs: Tensor = self.matcher(first[..., :: self.step, :: self.step], aligned[..., :: self.step, :: self.step])
        return costs.to(first.dtype)
