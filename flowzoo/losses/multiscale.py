"""The loss of pyramid networks: a penalty of the flow error at every level, and at full size."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from flowzoo.errors import InputError
from flowzoo.losses.penalties import Penalty
from flowzoo.losses.targets import Shrinking, known_pixels, shrunk
from flowzoo.network import FlowPrediction

PUBLISHED_WEIGHTS = (0.32, 0.08, 0.02, 0.01, 0.005)
"""Levels 6 to 2 of LiteFlowNet and PWC-Net."""
PUBLISHED_UNIT = 20.0
"""The networks learn flow / 20; losses are published in that unit."""


@dataclass(frozen=True)
class MultiscaleLoss:
    """Callable on a prediction and its ground truth.

    Attributes:
        penalty: cost of an error (B, 2, h, w).
        level_weights: coarse to fine, one for each *size* in `prediction.pyramid`; several flows of one size
            (LiteFlowNet's M, S and R) each have that weight. Levels beyond the weights do not count.
        full_weight: of `prediction.flow` (LiteFlowNet2 has it in place of the finest level).
        unit: pixels; errors are divided by it before the penalty.
        reduction: "sum" over pixels and mean over samples, as the published losses; "mean" over the known pixels of
            each sample, then over samples, so that a value does not depend on the size of the crop.
        shrinking: how true flow gets to a level's size.
        upsample: enlarge each level's flow to full size instead, for sparse ground truth (KITTI).
    """

    penalty: Penalty
    level_weights: tuple[float, ...] = PUBLISHED_WEIGHTS
    full_weight: float = 0.0
    unit: float = PUBLISHED_UNIT
    reduction: Literal["sum", "mean"] = "sum"
    shrinking: Shrinking = "caffe"
    upsample: bool = False

    def __post_init__(self) -> None:
        if any(weight < 0 for weight in (*self.level_weights, self.full_weight)):
            raise InputError(f"loss weights must not be negative: {self.level_weights}, full size {self.full_weight}")
        if not (any(self.level_weights) or self.full_weight) or not self.unit > 0:
            raise InputError("the loss counts nothing: give a positive weight and a positive unit")

    def __call__(self, prediction: FlowPrediction, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        """The loss, a number.

        Args:
            prediction: of any network of the zoo.
            flow: true flow (B, 2, H, W) in pixels of the images; NaN and infinity count as unknown.
            valid: (B, H, W) or (B, 1, H, W), above 0 where `flow` is known; None: wherever it is finite.

        Raises:
            InputError: the true flow has another size than the predicted one.
        """
        if flow.shape != prediction.flow.shape:
            raise InputError(f"true flow is {tuple(flow.shape)} but predicted is {tuple(prediction.flow.shape)}")
        flow, known = known_pixels(flow.float(), valid)
        total = flow.new_zeros(())
        if self.full_weight:
            total = total + self.full_weight * self._cost(prediction.flow, flow, known)
        for weight, flows in zip(self.level_weights, levels(prediction.pyramid), strict=False):
            if not weight:
                continue
            size = (flows[0].shape[-2], flows[0].shape[-1])
            truth, there = (flow, known) if self.upsample else shrunk(flow, known, size, self.shrinking)
            for estimate in flows:
                if self.upsample:
                    estimate = functional.interpolate(estimate, size=flow.shape[-2:], mode="bilinear")
                total = total + weight * self._cost(estimate, truth, there)
        return total

    def _cost(self, estimate: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        error = (estimate.float() - truth) / self.unit
        # Zeroed before the penalty too: an unknown pixel then cannot pass NaN into the gradient.
        cost = self.penalty(torch.where(known > 0, error, 0.0)) * known[:, 0]
        sums = cost.sum(dim=(1, 2))
        if self.reduction == "mean":
            sums = sums / known[:, 0].sum(dim=(1, 2)).clamp(min=1)
        return sums.mean()


def levels(pyramid: list[Tensor]) -> list[list[Tensor]]:
    """The flows of a pyramid, coarse to fine, grouped by size."""
    groups: list[list[Tensor]] = []
    for flow in pyramid:
        if groups and groups[-1][0].shape[-2:] == flow.shape[-2:]:
            groups[-1].append(flow)
        else:
            groups.append([flow])
    return groups
