"""GOCor: an optimised filter map in place of the first image's features of a correlation; here of a local one.

Truong, Danelljan, Van Gool, Timofte: "GOCor", NeurIPS 2020, section 3.3.
"""

import torch
from torch import Tensor, nn

from flowzoo.blocks.filter_objective import Correlator, Profiles
from flowzoo.blocks.filter_optimiser import FilterOptimiser, FilterTrace, Problem
from flowzoo.blocks.gocor_initialisers import make_initialiser
from flowzoo.blocks.radial_profile import window_distances
from flowzoo.operators import correlation, correlation_transpose
from flowzoo.operators.precision import without_autocast
from flowzoo.zoo.shared import GOCorSettings


class GOCor(nn.Module):
    """What both modules share. One defines its `problem`, and its correlation by `correlate`.

    Args:
        settings: of the module.
        channels: of the features; for a local module only the flexible initialisers need it.
        averaged: whether correlations are means over channels.
    """

    def __init__(self, settings: GOCorSettings, channels: int | None, *, averaged: bool) -> None:
        super().__init__()
        self.iterations, self.training_iterations = settings.iterations, settings.training_iterations
        self.initialiser = make_initialiser(settings.initialiser, channels, averaged=averaged)
        self.optimiser = FilterOptimiser(settings)
        if settings.training_iterations == 0:
            self.optimiser.requires_grad_(False)  # it takes no part in training

    def forward(self, reference: Tensor, query: Tensor) -> Tensor:
        """Features (B,C,H,W) twice -> scores, in float32 or float64."""
        with without_autocast(reference.device):
            query = working_copy(query)
            return self.correlate(self.filter_map(reference, query), query)

    def filter_map(
        self, reference: Tensor, query: Tensor, iterations: int | None = None, trace: FilterTrace | None = None
    ) -> Tensor:
        """The filter map (B,C,H,W).

        Args:
            iterations: overrides the settings' number.
            trace: is filled where given.

        Raises:
            InputError: global features of different sizes with the query loss.
        """
        if iterations is None:
            iterations = self.training_iterations if self.training else self.iterations
        with without_autocast(reference.device):
            problem = self.problem(working_copy(reference), working_copy(query))
            return self.as_map(self.optimiser(problem, iterations, trace), reference)

    def problem(self, reference: Tensor, query: Tensor) -> Problem:
        """What is to be minimised."""
        raise TypeError(f"{type(self).__name__} does not define its problem")

    def as_map(self, filters: Tensor, reference: Tensor) -> Tensor:
        """The problem's filters as (B,C,H,W)."""
        return filters

    def correlate(self, filters: Tensor, query: Tensor) -> Tensor:
        """Scores of a filter map (B,C,H,W) in the query's features (B,C,H,W)."""
        raise TypeError(f"{type(self).__name__} does not define its correlation")


class LocalGOCor(GOCor):
    """Local correlation with GOCor's filter map: scores (B,(2r+1)^2,H,W), displacements dy-major.

    Features are taken as they are, correlations are means over channels. A trace has filters (B,C,H,W), and steps
    (B,1,H,W), or (B,1,1,1) with the query loss.

    Args:
        radius: of the window in pixels of the features; 4 in the published networks.
        settings: of the module; published networks have no local query loss (the paper's Table 14, VI), and their
            results use 7 iterations.
        channels: of the features; only the flexible initialisers need it.
    """

    def __init__(self, radius: int = 4, settings: GOCorSettings | None = None, *, channels: int | None = None) -> None:
        super().__init__(settings or GOCorSettings(), channels, averaged=True)
        self.radius = radius

    def problem(self, reference: Tensor, query: Tensor) -> Problem:
        """See `GOCor.problem`."""
        profiles = self.optimiser.profiles(window_distances(self.radius, reference))
        return Problem(
            start=self.initialiser(reference),
            reference=self._correlator(reference),
            query=self._volume_correlator(query),
            profiles=Profiles(*(values.view(1, -1, 1, 1) for values in profiles)),
            axis=1,
            # Scores are means over C channels, so w is C times what sums would need, and |w|^2 C^2 times.
            penalty_divisor=reference.shape[1] ** 2,
        )

    def correlate(self, filters: Tensor, query: Tensor) -> Tensor:
        """See `GOCor.correlate`."""
        return correlation(filters, query, self.radius)

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


def working_copy(features: Tensor) -> Tensor:
    """Features as the optimiser wants them: contiguous, in float32 or float64. In autocast, switch that off first."""
    return features.to(torch.promote_types(features.dtype, torch.float32)).contiguous()
