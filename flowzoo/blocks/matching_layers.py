"""How GLU-Net and its relatives correlate features: globally at the coarsest level, locally at the others."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import SLOPE
from flowzoo.blocks.gocor import LocalGOCor
from flowzoo.blocks.gocor_global import GlobalGOCor
from flowzoo.blocks.neighbourhood_consensus import NeighbourhoodConsensus, mutual_matching
from flowzoo.blocks.precision import at_least_float32
from flowzoo.operators import correlation, global_correlation
from flowzoo.zoo.shared import GOCorSettings

GlobalMatchingKind = Literal["correlation", "consensus", "gocor"]
LocalMatchingKind = Literal["correlation", "gocor"]


def unit_length(maps: Tensor) -> Tensor:
    """Every position's vector divided by its length: x / sqrt(|x|^2 + 1e-6)."""
    power = at_least_float32(maps).square().sum(dim=1, keepdim=True)
    return maps * torch.rsqrt(power + 1e-6).to(maps.dtype)


class GlobalMatching(nn.Module):
    """Scores of all positions of the second image for every position of the first.

    Args:
        kind: "correlation"; "consensus": correlation filtered by a neighbourhood consensus network between two mutual
            matchings; "gocor": GOCor's filter map.
        channels: of the features.
        mutual: whether plain correlation goes through mutual matching.
        gocor: of the filter map.
    """

    def __init__(self, kind: GlobalMatchingKind, channels: int, gocor: GOCorSettings, *, mutual: bool) -> None:
        super().__init__()
        self.kind, self.mutual = kind, mutual
        if kind == "consensus":
            self.consensus = NeighbourhoodConsensus()
        elif kind == "gocor":
            self.gocor = GlobalGOCor(channels, gocor)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Features (B,C,H,W) twice, of any length -> (B,H*W,H,W), the second's position in the channel."""
        first, second = unit_length(first), unit_length(second)
        if self.kind == "gocor":
            return F.leaky_relu(self.gocor(first, second), SLOPE)
        scores = global_correlation(first, second)
        if self.kind == "consensus":
            scores = self._filtered(mutual_matching(scores), second.shape[2], second.shape[3])
        if self.mutual or self.kind == "consensus":
            scores = mutual_matching(scores)
        return unit_length(F.relu(scores))

    def _filtered(self, scores: Tensor, height: int, width: int) -> Tensor:
        volume = scores.unflatten(1, (1, height, width))
        return torch.reshape(self.consensus(volume), scores.shape)


class LocalMatching(nn.Module):
    """Scores of the second image's neighbours of every pixel, by correlation or GOCor, behind a leaky ReLU.

    Args:
        kind: "correlation" or "gocor".
        radius: of the window.
        gocor: of the filter map.
    """

    def __init__(self, kind: LocalMatchingKind, radius: int, gocor: GOCorSettings) -> None:
        super().__init__()
        self.radius = radius
        self.outputs = (2 * radius + 1) ** 2
        self.gocor = LocalGOCor(radius, gocor) if kind == "gocor" else None

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Features (B,C,H,W) twice, the second aligned -> (B,(2r+1)^2,H,W)."""
        scores = correlation(first, second, self.radius) if self.gocor is None else self.gocor(first, second)
        return F.leaky_relu(scores, SLOPE)
