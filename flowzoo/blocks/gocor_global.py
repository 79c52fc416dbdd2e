"""GlobalGOCor: an optimised filter map in place of the reference features of a global correlation."""

from torch import Tensor

from flowzoo.blocks.filter_objective import Correlator, Profiles
from flowzoo.blocks.filter_optimiser import Problem
from flowzoo.blocks.gocor import GOCor
from flowzoo.blocks.radial_profile import grid_distances, spread_over_grid
from flowzoo.errors import InputError
from flowzoo.operators import global_correlation
from flowzoo.zoo.shared import GOCorSettings

PUBLISHED = GOCorSettings(query_loss=True, initialiser="flexible-context")


class GlobalGOCor(GOCor):
    """Global correlation with GOCor's filter map: scores (B,H*W,H,W), the query's position in the channel.

    Expects features of length 1 (L2-normalised over channels); scores are plain sums over channels. A trace has filters
    (B,H*W,C), one row a position, and steps (B,H*W,1), or (B,1,1) with the query loss.

    Args:
        channels: of the features.
        settings: of the module; with the query loss both images' features must have one size.
    """

    def __init__(self, channels: int, settings: GOCorSettings = PUBLISHED) -> None:
        super().__init__(settings, channels, averaged=False)

    def problem(self, reference: Tensor, query: Tensor) -> Problem:
        """See `GOCor.problem`."""
        if self.optimiser.query_regulariser is not None and reference.shape != query.shape:
            raise InputError(
                f"GlobalGOCor's query loss needs features of one size, got {tuple(reference.shape)} and "
                f"{tuple(query.shape)}"
            )
        height, width = reference.shape[2:]
        profiles = self.optimiser.profiles(grid_distances(height, width, reference))
        return Problem(
            start=self.initialiser(reference).flatten(2).transpose(1, 2),
            reference=_correlator(reference),
            query=_volume_correlator(query),
            profiles=Profiles(*(spread_over_grid(table, height, width) for table in profiles)),
            axis=2,
        )

    def as_map(self, filters: Tensor, reference: Tensor) -> Tensor:
        """See `GOCor.as_map`."""
        return filters.transpose(1, 2).reshape(reference.shape)

    def correlate(self, filters: Tensor, query: Tensor) -> Tensor:
        """See `GOCor.correlate`."""
        return global_correlation(filters, query)


def _correlator(features: Tensor) -> Correlator:
    """w (B,P,C) -> scores (B,P,H*W)."""
    matrix = features.flatten(2)
    return Correlator(lambda filters: filters @ matrix, lambda scores: scores @ matrix.transpose(1, 2))


def _volume_correlator(features: Tensor) -> Correlator:
    """w (B,H*W,C) -> volume (B,H,W,H,W), reference axes first."""
    inner = _correlator(features)
    height, width = features.shape[2:]
    sides = (height, width, height, width)
    return Correlator(
        lambda filters: inner.apply(filters).view(-1, *sides),
        lambda volume: inner.transpose(volume.reshape(-1, height * width, height * width)),
    )
