"""The terms of GOCor's objective, each with its gradient and its bend along a direction (appendix A of the paper).

Truong, Danelljan, Van Gool, Timofte: "GOCor: Bringing Globally Optimized Correspondence Volumes into Your Neural
Network", NeurIPS 2020. Correlations are linear in the filter map w, so a term keeps C(w, f) and moves it along with w:
it is never computed again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowzoo.blocks.separable_conv4d import SeparableConv4d

Axes = int | tuple[int, ...]


@dataclass(frozen=True)
class Correlator:
    """A correlation C(w, f) with fixed features as a linear map of the filter map w, and its adjoint.

    Both tensors have batch first and one more axis (channels of w, scores of C) that belongs to a single position.
    """

    apply: Callable[[Tensor], Tensor]
    transpose: Callable[[Tensor], Tensor]


class Profiles(NamedTuple):
    """Objective terms by displacement, in the scores' layout: y / v+, v+ and m = v- / v+."""

    target: Tensor
    weight: Tensor
    mask: Tensor


class ReferenceTerm:
    """L_r of equation 5: |v+ sigma(c) - y|^2 / 2 for the scores c = C(w, f_ref); sigma as in equation 4.

    Args:
        filters: w.
        correlator: with the reference's features.
        profiles: y, v+ and v-.
        smoothing: eta of equation 4b.
    """

    def __init__(self, filters: Tensor, correlator: Correlator, profiles: Profiles, smoothing: float) -> None:
        self.correlator, self.smoothing = correlator, smoothing
        # Every pass over the scores costs; what only depends on the displacement is put together once.
        weight, mask = profiles.weight, profiles.mask
        self.even, self.odd = weight * (1 - mask) / 2, weight * (1 + mask) / 2
        self.negative_target = -weight * profiles.target
        self.scores = correlator.apply(filters)
        self.slope = self.change = self.scores

    def gradient(self) -> Tensor:
        """Of the term in w (equation 18)."""
        residual, self.slope = self.linearised()
        return self.correlator.transpose(_product(residual, self.slope))

    def bend(self, direction: Tensor, axes: Axes) -> Tensor:
        """|J d|^2 (the first summand of equation 24), summed over `axes`; follows `gradient`."""
        self.change = self.correlator.apply(direction)
        return squared_norm(_product(self.slope, self.change), axes)

    def step(self, length: Tensor) -> None:
        """w has moved by -length times the last direction."""
        self.scores = torch.addcmul(self.scores, length, self.change, value=-1)

    def value(self) -> Tensor:
        """The term, summed over the batch."""
        return self.linearised()[0].square().sum() / 2

    def linearised(self) -> tuple[Tensor, Tensor]:
        """Residual v+ sigma(c) - y and its derivative in c (equations 13, 14 and 17), in few passes over the scores."""
        if self.smoothing == 0:
            # sigma is linear on both sides of 0: its value is its slope times c.
            sign = self.scores.sign()
            slope = torch.addcmul(self.odd, self.even, sign, out=None if torch.is_grad_enabled() else sign)
            return torch.addcmul(self.negative_target, slope, self.scores), slope
        root = torch.sqrt(self.scores.square() + self.smoothing**2)
        slope = torch.addcmul(self.odd, self.even, self.scores / root)
        residual = self.negative_target + self.even * (root - self.smoothing) + self.odd * self.scores
        return residual, slope


class QueryTerm:
    """L_q of equation 6: |R * C(w, f_query)|^2 / 2.

    Args:
        filters: w.
        correlator: with the query's features; its scores are the volume that `kernel` takes.
        kernel: R.
    """

    def __init__(self, filters: Tensor, correlator: Correlator, kernel: SeparableConv4d) -> None:
        self.correlator, self.kernel = correlator, kernel
        self.residual: Tensor = kernel(correlator.apply(filters))
        self.change = self.residual

    def gradient(self) -> Tensor:
        """Of the term in w (equation 22)."""
        return self.correlator.transpose(self.kernel.transpose(self.residual))

    def bend(self, direction: Tensor, axes: Axes) -> Tensor:
        """|J d|^2 (the second summand of equation 24), summed over all but the batch: R ties positions together."""
        self.change = self.kernel(self.correlator.apply(direction))
        total = squared_norm(self.change, tuple(range(1, self.change.dim())))
        return total.view(-1, *[1] * (direction.dim() - 1))

    def step(self, length: Tensor) -> None:
        """w has moved by -length times the last direction."""
        self.residual = self.residual - length.view(-1, *[1] * (self.change.dim() - 1)) * self.change

    def value(self) -> Tensor:
        """The term, summed over the batch."""
        return self.residual.square().sum() / 2


def squared_norm(values: Tensor, axes: Axes) -> Tensor:
    """|values|^2 over `axes`, which stay with length 1."""
    squares = values * values
    # Axis by axis: runtimes of exported networks round more in one sum over a whole volume.
    for axis in (axes,) if isinstance(axes, int) else reversed(axes):
        squares = squares.sum(dim=axis, keepdim=True)
    return squares


def _product(values: Tensor, factor: Tensor) -> Tensor:
    """values * factor, in the place of `values` (not used again) where no gradient needs them."""
    return values * factor if torch.is_grad_enabled() else values.mul_(factor)
