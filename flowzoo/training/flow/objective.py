"""What a stage minimises, and the error it reports."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowzoo.blocks.directions import reverse_of
from flowzoo.losses.density import density_loss, distillation_loss
from flowzoo.losses.distillation import distilled
from flowzoo.losses.matching import matching_loss
from flowzoo.losses.multiscale import MultiscaleLoss
from flowzoo.losses.penalties import charbonnier, robust_l1
from flowzoo.losses.pooled_multiscale import PooledMultiscaleLoss
from flowzoo.losses.sequence import SequenceLoss
from flowzoo.losses.targets import known_pixels
from flowzoo.network import FlowPrediction
from flowzoo.training.flow.settings import LossSettings

Loss = Callable[[FlowPrediction, Tensor, Tensor], Tensor]
TaughtLoss = Callable[[FlowPrediction, Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


def make_loss(settings: LossSettings) -> TaughtLoss:
    """A function of a prediction, the true flow (B,2,H,W) in pixels, where it is known (B,H,W), labels and reverse.

    Labels are (B,3,H,W): a teacher's flow, and 1 where it counts. They take part as in equation 7 of "Improving Optical
    Flow on a Pyramid Level", without max-pooling. The reverse is the true flow of the other direction in the same form;
    both directions' losses are averaged. Either may be None.

    Raises:
        InputError: weights, exponent, epsilon or unit make no loss.
    """
    supervised, distillation = _losses(settings)

    def plain(prediction: FlowPrediction, flow: Tensor, valid: Tensor) -> Tensor:
        value = supervised(prediction, flow, valid)
        return value + settings.matching * matching_loss(prediction, flow, valid) if settings.matching else value

    def loss(
        prediction: FlowPrediction,
        flow: Tensor,
        valid: Tensor,
        labels: Tensor | None = None,
        reverse: Tensor | None = None,
    ) -> Tensor:
        value = plain(prediction, flow, valid)
        if reverse is not None:
            value = (value + plain(reverse_of(prediction), reverse[:, :2], reverse[:, 2])) / 2
        if labels is None:
            return value
        return distilled(value, distillation(prediction, labels[:, :2], labels[:, 2]), settings.distillation)

    return loss


def _losses(settings: LossSettings) -> tuple[Loss, Loss]:
    """Against ground truth, and against labels."""
    weights = settings.level_weights
    if settings.loss == "density":
        return (
            lambda prediction, flow, valid: density_loss(
                prediction, flow, valid, share=settings.max_pooling, level_weights=weights
            ),
            lambda prediction, flow, valid: distillation_loss(prediction, flow, valid, level_weights=weights),
        )
    if settings.loss == "sequence":
        sequence = SequenceLoss(settings.gamma, settings.largest)
        return sequence, sequence
    penalty = {"charbonnier": charbonnier, "robust-l1": robust_l1}[settings.loss](settings.exponent, settings.epsilon)
    common = (
        penalty, weights, settings.full_weight, settings.unit, settings.reduction, settings.shrinking, settings.upsample
    )  # fmt: skip
    plain = MultiscaleLoss(*common)
    if settings.max_pooling == 1:
        return plain, plain
    return PooledMultiscaleLoss(*common, share=settings.max_pooling, reach=settings.reach), plain


@torch.no_grad()
def end_point_error(estimate: Tensor, flow: Tensor, valid: Tensor) -> Tensor:
    """Mean over samples of the mean end-point error over known pixels, pixels."""
    flow, known = known_pixels(flow, valid)
    each = ((estimate.float() - flow).square().sum(dim=1).sqrt() * known[:, 0]).sum(dim=(1, 2))
    return (each / known.sum(dim=(1, 2, 3)).clamp(min=1)).mean()
