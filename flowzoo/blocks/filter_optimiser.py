"""GOCor's optimiser: steepest descent on the matching objective, with gradient and step length in closed form.

Truong, Danelljan, Van Gool, Timofte: "GOCor: Bringing Globally Optimized Correspondence Volumes into Your Neural
Network", NeurIPS 2020, section 3.6 and appendix A (Algorithm 1). The objective over the filter map w is, each term
halved (equation 7),

    |v+ sigma(C(w, f_ref)) - y|^2  +  |R * C(w, f_query)|^2  +  lambda^2 |w|^2.

Where code and paper differ, this is what the published weights were trained with.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from flowzoo.blocks.filter_objective import Axes, Correlator, Profiles, QueryTerm, ReferenceTerm, squared_norm
from flowzoo.blocks.radial_profile import RadialProfiles
from flowzoo.blocks.separable_conv4d import SeparableConv4d
from flowzoo.zoo.shared import GOCorSettings

SMALLEST_REGULARISATION = 1e-5
SMALLEST_DENOMINATOR = 1e-8


@dataclass(frozen=True)
class Problem:
    """What is minimised for one batch of pairs.

    Attributes:
        start: w0.
        reference: correlation with the reference's features.
        query: with the query's, as the 5D volume that R takes; only counts with the query loss.
        profiles: y, v+ and v- in the layout of the reference's scores.
        axis: of the channels of w, and of the scores of C, at one position.
        penalty_divisor: of lambda^2, where the correlations are means.
    """

    start: Tensor
    reference: Correlator
    query: Correlator
    profiles: Profiles
    axis: int
    penalty_divisor: float = 1.0


@dataclass
class FilterTrace:
    """What an optimisation went through.

    Attributes:
        filters: w before the first and after each iteration.
        steps: optimal step length of each iteration, before the learnt factor.
        losses: "reference", "query" (where it is used), "regularisation" and "total" at each of `filters`: sums over
            the batch divided by its size.
    """

    filters: list[Tensor] = field(default_factory=list)
    steps: list[Tensor] = field(default_factory=list)
    losses: dict[str, list[Tensor]] = field(default_factory=dict)

    def record(self, filters: Tensor, terms: list[ReferenceTerm | QueryTerm], penalty: Tensor) -> None:
        """Where the optimisation is now."""
        batch = max(filters.shape[0], 1)
        names = {ReferenceTerm: "reference", QueryTerm: "query"}
        losses = {names[type(term)]: term.value() / batch for term in terms}
        losses["regularisation"] = (penalty * filters.square().sum() / (2 * batch)).squeeze()
        losses["total"] = torch.stack(list(losses.values())).sum()
        self.filters.append(filters)
        for name, value in losses.items():
            self.losses.setdefault(name, []).append(value)


class FilterOptimiser(nn.Module):
    """The learned objective and its minimisation.

    Without the query loss every position has a problem and a step length of its own; with it one step length serves a
    sample.
    """

    def __init__(self, settings: GOCorSettings) -> None:
        super().__init__()
        self.smoothing, self.steplength_regularisation = settings.smoothing, settings.steplength_regularisation
        self.log_step_length = nn.Parameter(torch.zeros(1))
        self.regularisation = nn.Parameter(torch.full((1,), 1e-2))
        self.profiles = RadialProfiles(settings.objective)
        self.query_regulariser = SeparableConv4d() if settings.query_loss else None

    def forward(self, problem: Problem, iterations: int, trace: FilterTrace | None = None) -> Tensor:
        """The filter map after `iterations` steps of Algorithm 1; `trace` is filled where given."""
        w = problem.start
        reference = ReferenceTerm(w, problem.reference, problem.profiles, self.smoothing)
        terms: list[ReferenceTerm | QueryTerm] = [reference]
        axes: Axes = problem.axis
        if self.query_regulariser is not None:
            terms.append(QueryTerm(w, problem.query, self.query_regulariser))
            axes = tuple(range(1, w.dim()))
        penalty = (self.regularisation**2).clamp(min=SMALLEST_REGULARISATION**2) / problem.penalty_divisor  # lambda^2
        factor = torch.exp(self.log_step_length)
        if trace is not None:
            trace.record(w, terms, penalty)
        for _ in range(iterations):
            gradient = torch.addcmul(reference.gradient(), penalty, w)  # equation 12
            for term in terms[1:]:
                gradient = gradient + term.gradient()
            length = squared_norm(gradient, axes)
            curvature = reference.bend(gradient, axes)  # equation 24
            for term in terms[1:]:
                curvature = curvature + term.bend(gradient, axes)
            alpha = length / self._denominator(curvature + penalty * length, length)  # equation 11
            step = factor * alpha
            w = torch.addcmul(w, step, gradient, value=-1)  # equation 8
            for term in terms:
                term.step(step)
            if trace is not None:
                trace.steps.append(alpha)
                trace.record(w, terms, penalty)
        return w

    def _denominator(self, curvature: Tensor, length: Tensor) -> Tensor:
        """That of the step length, kept away from 0."""
        curvature = curvature.clamp(min=SMALLEST_DENOMINATOR)
        if self.steplength_regularisation:
            curvature = curvature + self.steplength_regularisation * length
        return curvature
