"""GOCor's optimiser: steepest descent on the matching objective, with gradient and step length in closed form.

Truong, Danelljan, Van Gool, Timofte: "GOCor: Bringing Globally Optimized Correspondence Volumes into Your Neural
Network", NeurIPS 2020, sections 3.4 to 3.6 and appendix A. With c = C(w, f_ref) the objective is, each term halved,

    |v+ sigma(c) - y|^2  +  |R * C(w, f_query)|^2  +  lambda^2 |w|^2.

Where code and paper differ, this is what the published weights were trained with.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from flowzoo.blocks.radial_profile import Objective, RadialProfiles
from flowzoo.blocks.separable_conv4d import SeparableConv4d

SMALLEST_REGULARISATION = 1e-5
SMALLEST_DENOMINATOR = 1e-8


@dataclass(frozen=True)
class Correlator:
    """A correlation C(w, f) with fixed features as a linear map of the filter map w, and its adjoint.

    Both tensors have batch first and one more axis (channels of w, scores of C) that belongs to a single position.
    """

    apply: Callable[[Tensor], Tensor]
    transpose: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Profiles:
    """Objective terms by displacement, in the scores' layout: y / v+, v+ and m = v- / v+."""

    target: Tensor
    weight: Tensor
    mask: Tensor


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


class FilterOptimiser(nn.Module):
    """The learned objective and its minimisation.

    Args:
        query_loss: whether the term on the query image is there. Without it every position has a problem and a step
            length of its own; with it one step length serves a sample.
        objective: see `RadialProfiles`.
        smoothing: eta of equation 4b in units of a correlation; 0 in all published networks.
        steplength_regularisation: this times |gradient|^2 is added to the step length's denominator.
    """

    def __init__(
        self,
        *,
        query_loss: bool = False,
        objective: Objective = "robust",
        smoothing: float = 0.0,
        steplength_regularisation: float = 0.0,
    ) -> None:
        super().__init__()
        self.smoothing, self.steplength_regularisation = smoothing, steplength_regularisation
        self.log_step_length = nn.Parameter(torch.zeros(1))
        self.regularisation = nn.Parameter(torch.full((1,), 1e-2))
        self.profiles = RadialProfiles(objective)
        self.query_regulariser = SeparableConv4d() if query_loss else None

    def profiles_at(self, distance: Tensor, spread: Callable[[Tensor], Tensor]) -> Profiles:
        """The objective's terms at these distances, each laid out by `spread`."""
        return Profiles(*(spread(values) for values in self.profiles(distance)))

    def penalty(self, divisor: float = 1.0) -> Tensor:
        """lambda^2 / divisor: one learned number, at least 1e-10 before the division."""
        return (self.regularisation**2).clamp(min=SMALLEST_REGULARISATION**2) / divisor

    def forward(
        self,
        filters: Tensor,
        profiles: Profiles,
        reference: Correlator,
        query: Correlator | None,
        iterations: int,
        *,
        axis: int,
        penalty: Tensor,
        trace: FilterTrace | None = None,
    ) -> Tensor:
        """The filter map after `iterations` steps.

        Args:
            filters: start w0.
            profiles: terms of the objective in the layout of `reference`'s scores.
            reference, query: correlation with the reference's and the query's features; the query's, already as the 5D
                volume that R takes, only counts with `query_loss`.
            axis: of channels and scores, respectively, at one position.
            penalty: lambda^2 in the units of `filters`.
            trace: is filled where given.
        """
        # Every pass over the scores costs; what only depends on the displacement is put together once.
        terms = _Terms(profiles, self.smoothing)
        regulariser = self.query_regulariser
        if regulariser is None or query is None:
            axes: int | tuple[int, ...] = axis
        else:
            axes = tuple(range(1, filters.dim()))
        scores = reference.apply(filters)
        smoothness = None if regulariser is None or query is None else regulariser(query.apply(filters))
        factor = torch.exp(self.log_step_length)
        self._record(trace, filters, scores, terms, smoothness, penalty)
        for _ in range(iterations):
            residual, slope = terms.linearised(scores)
            gradient = reference.transpose(_product(residual, slope))
            gradient = torch.addcmul(gradient, penalty, filters)
            if smoothness is not None and regulariser is not None and query is not None:
                gradient = gradient + query.transpose(regulariser.transpose(smoothness))
            # Correlation is linear in w, so scores follow the step: they need not be computed again.
            change = reference.apply(gradient)
            length = _squared_norm(gradient, axes)
            curvature = _squared_norm(_product(slope, change), axes)
            bend = None
            if smoothness is not None and regulariser is not None and query is not None:
                bend = regulariser(query.apply(gradient))
                curvature = curvature + _squared_norm(bend.flatten(1), 1).view_as(curvature)
            denominator = (curvature + penalty * length).clamp(min=SMALLEST_DENOMINATOR)
            if self.steplength_regularisation:
                denominator = denominator + self.steplength_regularisation * length
            optimal = length / denominator
            step = factor * optimal
            filters = torch.addcmul(filters, step, gradient, value=-1)
            scores = torch.addcmul(scores, step, change, value=-1)
            if smoothness is not None and bend is not None:
                smoothness = smoothness - step.view(-1, *[1] * (bend.dim() - 1)) * bend
            if trace is not None:
                trace.steps.append(optimal)
            self._record(trace, filters, scores, terms, smoothness, penalty)
        return filters

    def _record(
        self,
        trace: FilterTrace | None,
        filters: Tensor,
        scores: Tensor,
        terms: "_Terms",
        smoothness: Tensor | None,
        penalty: Tensor,
    ) -> None:
        if trace is None:
            return
        batch = max(filters.shape[0], 1)
        residual, _ = terms.linearised(scores)
        losses = {
            "reference": residual.square().sum() / (2 * batch),
            "regularisation": (penalty * filters.square().sum() / (2 * batch)).squeeze(),
        }
        if smoothness is not None:
            losses["query"] = smoothness.square().sum() / (2 * batch)
        losses["total"] = torch.stack(list(losses.values())).sum()
        trace.filters.append(filters)
        for name, value in losses.items():
            trace.losses.setdefault(name, []).append(value)


class _Terms:
    """The robust residual v+ sigma(c) - y of equation 5, in few passes over the scores c."""

    def __init__(self, profiles: Profiles, smoothing: float) -> None:
        self.smoothing = smoothing
        self.even, self.odd = profiles.weight * (1 - profiles.mask) / 2, profiles.weight * (1 + profiles.mask) / 2
        self.negative_target = -profiles.weight * profiles.target

    def linearised(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Residual and its derivative in c."""
        if self.smoothing == 0:
            # sigma is linear on both sides of 0: its value is its slope times c.
            sign = scores.sign()
            slope = torch.addcmul(self.odd, self.even, sign, out=None if torch.is_grad_enabled() else sign)
            return torch.addcmul(self.negative_target, slope, scores), slope
        root = torch.sqrt(scores.square() + self.smoothing**2)
        slope = torch.addcmul(self.odd, self.even, scores / root)
        residual = self.negative_target + self.even * (root - self.smoothing) + self.odd * scores
        return residual, slope


def working_copy(features: Tensor) -> Tensor:
    """Features as the optimiser wants them: contiguous, in float32 or float64. In autocast, switch that off first."""
    return features.to(torch.promote_types(features.dtype, torch.float32)).contiguous()


def _product(values: Tensor, factor: Tensor) -> Tensor:
    """values * factor, in the place of `values` (not used again) where no gradient needs them."""
    return values * factor if torch.is_grad_enabled() else values.mul_(factor)


def _squared_norm(values: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    return (values * values).sum(dim=axes, keepdim=True)
