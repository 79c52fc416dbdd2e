"""GlobalGOCor: an optimised filter map in place of the reference features of a global correlation."""

import torch
from torch import Tensor, nn

from flowzoo.blocks.filter_optimiser import Correlator, FilterOptimiser, FilterTrace, working_copy
from flowzoo.blocks.gocor_initialisers import InitialiserKind, make_initialiser
from flowzoo.blocks.radial_profile import Objective, grid_distances, spread_over_grid
from flowzoo.errors import InputError
from flowzoo.operators import global_correlation


class GlobalGOCor(nn.Module):
    """Global correlation with GOCor's filter map. Expects features of length 1 (L2-normalised over channels).

    Args:
        channels: of the features.
        query_loss: the term on the query image; both images' features must then have one size.
        initialiser: of the filter map.
        iterations: of the optimiser in evaluation.
        training_iterations: of the optimiser in training.
        objective, smoothing, steplength_regularisation: see `FilterOptimiser`.
    """

    def __init__(
        self,
        channels: int,
        *,
        query_loss: bool = True,
        initialiser: InitialiserKind = "flexible-context",
        iterations: int = 3,
        training_iterations: int = 3,
        objective: Objective = "robust",
        smoothing: float = 0.0,
        steplength_regularisation: float = 0.0,
    ) -> None:
        super().__init__()
        self.iterations, self.training_iterations = iterations, training_iterations
        self.initialiser = make_initialiser(initialiser, channels, averaged=False)
        self.optimiser = FilterOptimiser(
            query_loss=query_loss,
            objective=objective,
            smoothing=smoothing,
            steplength_regularisation=steplength_regularisation,
        )
        if training_iterations == 0:
            self.optimiser.requires_grad_(False)  # it takes no part in training

    def forward(self, reference: Tensor, query: Tensor) -> Tensor:
        """Features (B,C,H,W) twice -> scores (B,H*W,H,W), the query's position in the channel; plain sums over C."""
        with torch.autocast(reference.device.type, enabled=False):
            query = working_copy(query)
            return global_correlation(self.filter_map(reference, query), query)

    def filter_map(
        self, reference: Tensor, query: Tensor, iterations: int | None = None, trace: FilterTrace | None = None
    ) -> Tensor:
        """The filter map (B,C,H,W) for the reference's positions.

        Args:
            iterations: overrides the constructor's number.
            trace: is filled where given: filters (B,H*W,C), one row a position; steps (B,H*W,1), or (B,1,1) with the
                query loss.

        Raises:
            InputError: features of different sizes with the query loss.
        """
        if self.optimiser.query_regulariser is not None and reference.shape != query.shape:
            raise InputError(
                f"GlobalGOCor's query loss needs features of one size, got {tuple(reference.shape)} and "
                f"{tuple(query.shape)}"
            )
        if iterations is None:
            iterations = self.training_iterations if self.training else self.iterations
        with torch.autocast(reference.device.type, enabled=False):
            return self._optimised(working_copy(reference), working_copy(query), iterations, trace)

    def _optimised(self, reference: Tensor, query: Tensor, iterations: int, trace: FilterTrace | None) -> Tensor:
        batch, channels, height, width = reference.shape
        profiles = self.optimiser.profiles_at(
            grid_distances(height, width, reference), lambda table: spread_over_grid(table, height, width)
        )
        filters = self.optimiser(
            self.initialiser(reference).flatten(2).transpose(1, 2),
            profiles,
            _correlator(reference),
            _volume_correlator(query),
            iterations,
            axis=2,
            penalty=self.optimiser.penalty(),
            trace=trace,
        )
        result: Tensor = filters.transpose(1, 2).reshape(batch, channels, height, width)
        return result


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
        lambda volume: inner.transpose(torch.reshape(volume, (-1, height * width, height * width))),
    )
