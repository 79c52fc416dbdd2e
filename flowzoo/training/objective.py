"""What a stage minimises, and the error it reports."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowzoo.losses.density import density_loss
from flowzoo.losses.multiscale import MultiscaleLoss
from flowzoo.losses.penalties import charbonnier, robust_l1
from flowzoo.losses.targets import known_pixels
from flowzoo.network import FlowPrediction
from flowzoo.training.recipe import Stage

Loss = Callable[[FlowPrediction, Tensor, Tensor], Tensor]


def make_loss(stage: Stage) -> Loss:
    """A function of a prediction, the true flow (B,2,H,W) in pixels and where it is known (B,H,W).

    Raises:
        InputError: weights, exponent, epsilon or unit make no loss.
    """
    if stage.loss == "density":
        return lambda prediction, flow, valid: density_loss(prediction, flow, valid, level_weights=stage.level_weights)
    penalty = {"charbonnier": charbonnier, "robust-l1": robust_l1}[stage.loss](stage.exponent, stage.epsilon)
    return MultiscaleLoss(
        penalty, stage.level_weights, stage.full_weight, stage.unit, stage.reduction, stage.shrinking, stage.upsample
    )


@torch.no_grad()
def end_point_error(estimate: Tensor, flow: Tensor, valid: Tensor) -> Tensor:
    """Mean over samples of the mean end-point error over known pixels, pixels."""
    flow, known = known_pixels(flow, valid)
    each = ((estimate.float() - flow).square().sum(dim=1).sqrt() * known[:, 0]).sum(dim=(1, 2))
    return (each / known.sum(dim=(1, 2, 3)).clamp(min=1)).mean()
