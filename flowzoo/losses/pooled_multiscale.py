"""The multi-scale loss of pyramid networks with loss max-pooling at every level."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from flowzoo.errors import InputError
from flowzoo.losses.max_pooling import PixelLoss, max_pooled
from flowzoo.losses.multiscale import MultiscaleLoss, levels
from flowzoo.losses.targets import known_pixels, shrunk
from flowzoo.network import FlowPrediction


@dataclass(frozen=True)
class PooledMultiscaleLoss(MultiscaleLoss):
    """As `MultiscaleLoss`, but of every level only the pixels with the largest costs count.

    Hofinger et al.: "Improving Optical Flow on a Pyramid Level", ECCV 2020, section 3.2; see
    `flowzoo.losses.max_pooling`. With share 1 and an infinite reach it is the plain loss.

    Attributes:
        share: part of the known pixels that counts, above 0 and at most 1.
        reach: largest motion that a level can add to the coarser flow, in pixels of the level (the radius of its cost
            volume); pixels whose rest is larger count as 0. The flow at full size has no such limit.
    """

    share: float = 1.0
    reach: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1 or not self.reach > 0:
            raise InputError(
                f"max-pooling needs a share above 0 up to 1 and a reach above 0: {self.share}, {self.reach}"
            )

    def __call__(self, prediction: FlowPrediction, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        """See `MultiscaleLoss`."""
        total = flow.new_zeros((), dtype=torch.float32)
        for weight, level in self.pixel_losses(prediction, flow, valid):
            value = max_pooled(level, self.share)
            if self.reduction == "sum" and level.valid is not None:
                # The pooled loss is a mean; the published one a sum over the known pixels of a sample.
                value = value * level.valid.sum() / len(level.valid)
            total = total + weight * value
        return total

    def pixel_losses(
        self, prediction: FlowPrediction, flow: Tensor, valid: Tensor | None = None
    ) -> list[tuple[float, PixelLoss]]:
        """(weight, costs of every pixel) of every flow that counts; arguments as for a call."""
        if flow.shape != prediction.flow.shape:
            raise InputError(f"true flow is {tuple(flow.shape)} but predicted is {tuple(prediction.flow.shape)}")
        flow, known = known_pixels(flow.float(), valid)
        found = []
        if self.full_weight:
            found.append((self.full_weight, self._pixels(prediction.flow, flow, known, None)))
        coarse: Tensor | None = None
        for weight, flows in zip(self.level_weights, levels(prediction.pyramid), strict=False):
            size = (flows[0].shape[-2], flows[0].shape[-1])
            truth, there = (flow, known) if self.upsample else shrunk(flow, known, size, self.shrinking)
            limits = self.reach * (flow.shape[-1] / size[1]), self.reach * (flow.shape[-2] / size[0])
            rest = truth if coarse is None else truth - _enlarged(coarse, truth)
            reachable = (rest[:, 0].abs() <= limits[0]) & (rest[:, 1].abs() <= limits[1])
            if weight:
                for estimate in flows:
                    seen = _enlarged(estimate, truth) if self.upsample else estimate
                    found.append((weight, self._pixels(seen, truth, there, reachable)))
            coarse = flows[-1].detach()
        return found

    def _pixels(self, estimate: Tensor, truth: Tensor, known: Tensor, reachable: Tensor | None) -> PixelLoss:
        error = torch.where(known > 0, (estimate.float() - truth) / self.unit, 0.0)
        return PixelLoss(self.penalty(error) * known[:, 0], known[:, 0] > 0, reachable)


def _enlarged(flow: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(flow.float(), size=like.shape[-2:], mode="bilinear", align_corners=False)
