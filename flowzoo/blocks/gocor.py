"""LocalGOCor: an optimised filter map in place of the first image's features of a local correlation."""

import torch
from torch import Tensor, nn

from flowzoo.blocks.filter_optimiser import Correlator, FilterOptimiser, FilterTrace, working_copy
from flowzoo.blocks.gocor_initialisers import InitialiserKind, make_initialiser
from flowzoo.blocks.radial_profile import Objective, window_distances
from flowzoo.operators import correlation, correlation_transpose


class LocalGOCor(nn.Module):
    """Local correlation with GOCor's filter map; features as they are, correlations are means over channels.

    Args:
        radius: of the window in pixels of the features; 4 in the published networks.
        iterations: of the optimiser in evaluation; the paper's results use 7.
        training_iterations: of the optimiser in training.
        query_loss: the term on the query image (off in the published networks; the paper's Table 14, VI).
        initialiser: of the filter map.
        channels: of the features; only the flexible initialisers need it.
        objective, smoothing: see `FilterOptimiser`.
    """

    def __init__(
        self,
        radius: int = 4,
        *,
        iterations: int = 3,
        training_iterations: int = 3,
        query_loss: bool = False,
        initialiser: InitialiserKind = "simple",
        channels: int | None = None,
        objective: Objective = "robust",
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.radius = radius
        self.iterations, self.training_iterations = iterations, training_iterations
        self.initialiser = make_initialiser(initialiser, channels, averaged=True)
        self.optimiser = FilterOptimiser(query_loss=query_loss, objective=objective, smoothing=smoothing)
        if training_iterations == 0:
            self.optimiser.requires_grad_(False)  # it takes no part in training

    def forward(self, reference: Tensor, query: Tensor) -> Tensor:
        """Features (B,C,H,W) twice -> scores (B,(2r+1)^2,H,W), displacements dy-major."""
        with torch.autocast(reference.device.type, enabled=False):
            query = working_copy(query)
            return correlation(self.filter_map(reference, query), query, self.radius)

    def filter_map(
        self, reference: Tensor, query: Tensor, iterations: int | None = None, trace: FilterTrace | None = None
    ) -> Tensor:
        """The filter map (B,C,H,W).

        Args:
            iterations: overrides the constructor's number.
            trace: is filled where given: filters (B,C,H,W); steps (B,1,H,W), or (B,1,1,1) with the query loss.
        """
        if iterations is None:
            iterations = self.training_iterations if self.training else self.iterations
        with torch.autocast(reference.device.type, enabled=False):
            return self._optimised(working_copy(reference), working_copy(query), iterations, trace)

    def _optimised(self, reference: Tensor, query: Tensor, iterations: int, trace: FilterTrace | None) -> Tensor:
        profiles = self.optimiser.profiles_at(
            window_distances(self.radius, reference), lambda values: values.view(1, -1, 1, 1)
        )
        result: Tensor = self.optimiser(
            self.initialiser(reference),
            profiles,
            self._correlator(reference),
            self._volume_correlator(query),
            iterations,
            axis=1,
            # Scores are means over C channels, so w is C times what sums would need, and |w|^2 C^2 times.
            penalty=self.optimiser.penalty(reference.shape[1] ** 2),
            trace=trace,
        )
        return result

    def _correlator(self, features: Tensor) -> Correlator:
        return Correlator(
            lambda filters: correlation(filters, features, self.radius),
            lambda scores: correlation_transpose(scores, features, self.radius),
        )

    def _volume_correlator(self, features: Tensor) -> Correlator:
        """w -> volume (B,2r+1,2r+1,H,W), displacements first."""
        inner = self._correlator(features)
        side = 2 * self.radius + 1
        return Correlator(
            lambda filters: inner.apply(filters).unflatten(1, (side, side)),
            lambda volume: inner.transpose(volume.flatten(1, 2)),
        )
