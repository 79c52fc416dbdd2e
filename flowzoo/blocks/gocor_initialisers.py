"""First filter maps w0 of GOCor, from the reference features alone (appendix B of the paper).

All take features f (B,C,H,W) and give a filter map of that shape. Inner products are sums over channels for the global
module and means for the local one, as the correlations there are.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from flowzoo.errors import InputError

InitialiserKind = Literal["zero", "simple", "flexible-simple", "context", "flexible-context"]


class ZeroInitialiser(nn.Module):
    """w0 = 0."""

    def forward(self, features: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W)."""
        return torch.zeros_like(features)


class SimpleInitialiser(nn.Module):
    """w0 = s f / <f,f>, so that <w0,f> = s, learned and at first 1. A vector s has one number a channel.

    The published code divides by the squared norm; equation 27 of the paper by the norm.

    Args:
        channels: 1 for a scalar s, else the number of feature channels.
        averaged: whether inner products are means over channels; then 1e-6 is added to the squared norm.
    """

    def __init__(self, channels: int = 1, *, averaged: bool = False) -> None:
        super().__init__()
        self.averaged = averaged
        self.scaling = nn.Parameter(torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W)."""
        if self.averaged:
            power = (features * features).mean(dim=1, keepdim=True) + 1e-6
        else:
            # The floor only matters for features that are all zero.
            power = (features * features).sum(dim=1, keepdim=True).clamp(min=1e-12)
        return features * (self.scaling.view(1, -1, 1, 1) / power)


class ContextInitialiser(nn.Module):
    """w0 in the span of f and its spatial mean m with <w0,f> = b and <w0,m> = g (at first 1 and 0).

    Args:
        channels: 1 for scalars b and g, else the number of feature channels: each channel then has its own.
        averaged: whether inner products are means over channels.
    """

    def __init__(self, channels: int = 1, *, averaged: bool = False) -> None:
        super().__init__()
        self.averaged = averaged
        self.at_match = nn.Parameter(torch.ones(channels))
        self.at_mean = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W)."""
        mean = features.mean(dim=(2, 3), keepdim=True)
        ff, fm, mm = (self._inner(a, b) for a, b in ((features, features), (features, mean), (mean, mean)))
        match, other = self.at_match.view(1, -1, 1, 1), self.at_mean.view(1, -1, 1, 1)
        determinant = (ff * mm - fm * fm).clamp(min=1e-6)
        return ((match * mm - other * fm) * features - (match * fm - other * ff) * mean) / determinant

    def _inner(self, first: Tensor, second: Tensor) -> Tensor:
        product = first * second
        return product.mean(dim=1, keepdim=True) if self.averaged else product.sum(dim=1, keepdim=True)


def make_initialiser(kind: InitialiserKind, channels: int | None, *, averaged: bool) -> nn.Module:
    """The initialiser of that name.

    Raises:
        InputError: a flexible one needs `channels`.
    """
    if kind == "zero":
        return ZeroInitialiser()
    flexible = kind.startswith("flexible")
    if flexible and channels is None:
        raise InputError(f"GOCor's initialiser {kind!r} has a parameter for each feature channel: give their number")
    own = channels if flexible and channels is not None else 1
    if kind.endswith("simple"):
        return SimpleInitialiser(own, averaged=averaged)
    return ContextInitialiser(own, averaged=averaged)
