"""What a stage minimises."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.network import FlowPrediction
from flowzoo.training.recipe import Stage

Loss = Callable[[FlowPrediction, Tensor, Tensor], Tensor]


def make_loss(stage: Stage) -> Loss:
    """A function of a prediction, the true flow (B,2,H,W) in pixels and where it is known (B,H,W)."""

    def loss(prediction: FlowPrediction, flow: Tensor, valid: Tensor) -> Tensor:
        total = stage.full_weight * robust(prediction.flow, flow, valid, stage.exponent, stage.epsilon)
        sizes: list[tuple[int, int]] = []
        for entry in prediction.pyramid:
            size = (entry.shape[-2], entry.shape[-1])
            if size not in sizes:
                sizes.append(size)
            weight = stage.level_weights[len(sizes) - 1] if len(sizes) <= len(stage.level_weights) else 0.0
            if weight:
                truth, known = shrunk(flow, valid, size)
                total = total + weight * robust(entry, truth, known, stage.exponent, stage.epsilon)
        return total

    return loss


def robust(estimate: Tensor, flow: Tensor, valid: Tensor, exponent: float, epsilon: float) -> Tensor:
    """Mean over samples of the mean over known pixels of (|e|^2 + epsilon)^exponent; e in pixels."""
    error = (estimate - flow).square().sum(dim=1)
    return _mean_known((error + epsilon).pow(exponent), valid)


def shrunk(flow: Tensor, valid: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The mean of the known flow in each cell of a coarser grid (still in pixels of the fine one), and where there is any."""
    known = valid.to(flow.dtype)[:, None]
    share = F.adaptive_avg_pool2d(known, size)
    mean = F.adaptive_avg_pool2d(flow * known, size) / share.clamp(min=1e-6)
    return mean, share[:, 0] > 0


@torch.no_grad()
def end_point_error(estimate: Tensor, flow: Tensor, valid: Tensor) -> Tensor:
    """Mean over samples of the mean end-point error over known pixels."""
    return _mean_known((estimate - flow).square().sum(dim=1).sqrt(), valid)


def _mean_known(values: Tensor, valid: Tensor) -> Tensor:
    known = valid.to(values.dtype)
    each = (values * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)
    return each.mean()
