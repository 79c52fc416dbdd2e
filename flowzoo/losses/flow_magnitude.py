"""Penalties on the correspondences themselves: the alternative to flow scaling.

Geng, Hamilton, Owens: "Comparing Correspondences: Video Prediction with Correspondence-wise Losses", CVPR 2022,
equation 3, in the form of the authors' code (which does not square the norm, and divides the flow by the image's size).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Smoothness = Literal["gradient", "edge-1", "edge-2"]
EDGE_SHARPNESS = 150.0
ROUNDING = 0.001
"""Of the robust norm sqrt(v^2 + 0.001^2) in the edge-aware forms."""


@dataclass(frozen=True)
class MagnitudePenalty:
    """Weights of the penalty's terms, each averaged over the two directions.

    Attributes:
        magnitude: of the mean norm of the flow, relative to the image's size (the paper's lambda 1).
        smooth: of the mean norm of its Sobel derivatives (lambda 2).
        norm: 1 or 2, over the flow's two components.
        smoothness: "gradient", or edge-aware of first or second order, where edges of the image that is warped to
            release the smoothness.
        leaving: of max(|u| - 1, 0), u in pixels.
    """

    magnitude: float = 9.0
    smooth: float = 4.5
    norm: Literal[1, 2] = 1
    smoothness: Smoothness = "gradient"
    leaving: float = 0.0

    def __call__(self, flow: Tensor, reference: Tensor) -> dict[str, Tensor]:
        """The weighted terms of one direction, each half of its share.

        Args:
            flow: (B,2,H,W) in pixels, not scaled.
            reference: (B,3,H,W) in [-1,1], the image on whose grid the flow stands; edges pass gradients to it.

        Returns:
            "magnitude", "smooth", "leaving": scalars; those of weight 0 are left out.
        """
        height, width = flow.shape[-2:]
        relative = torch.cat([flow[:, :1] / max(width - 1, 1), flow[:, 1:] / max(height - 1, 1)], dim=1)
        terms = {}
        if self.magnitude:
            terms["magnitude"] = self.magnitude / 2 * self._norm(relative).mean()
        if self.smooth:
            terms["smooth"] = self.smooth / 2 * self._roughness(relative, reference)
        if self.leaving:
            terms["leaving"] = self.leaving / 2 * F.relu(flow.abs() - 1).mean()
        return terms

    def _norm(self, vectors: Tensor) -> Tensor:
        """(B,2,H,W) -> (B,H,W)."""
        norm: Tensor = torch.linalg.vector_norm(vectors, ord=self.norm, dim=1)
        return norm

    def _roughness(self, flow: Tensor, reference: Tensor) -> Tensor:
        across, down = sobel(flow)
        if self.smoothness == "gradient":
            return (self._norm(across).mean() + self._norm(down).mean()) / 2
        if self.smoothness == "edge-2":
            across, down = sobel(across)[0], sobel(down)[1]
        total = flow.new_zeros(())
        for change, edge in zip((across, down), sobel(reference), strict=True):
            release = torch.exp(-(EDGE_SHARPNESS * edge).abs().mean(dim=1, keepdim=True))
            total = total + (release * (change.square() + ROUNDING**2).sqrt()).mean()
        return total / 2


def sobel(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives in x and y of every channel: weights 1, 2, 1 times 1, 0, -1, not normalised, zeros outside."""
    place = torch.arange(3, dtype=maps.dtype, device=maps.device)
    across = (2 - (place - 1).abs()).unsqueeze(1) * (1 - place)
    channels = maps.shape[1]
    kernels = torch.stack([across, across.T]).unsqueeze(1).repeat(channels, 1, 1, 1)
    found = F.conv2d(maps, kernels, padding=1, groups=channels)
    return found[:, ::2], found[:, 1::2]
