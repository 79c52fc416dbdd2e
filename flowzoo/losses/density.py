"""HD3's loss: at every level, how far the predicted match density is from the one the ground truth asks for.

Yin, Darrell, Yu: HD3 (CVPR 2019), section 3.4. The target of a level is the rest of the true flow that the coarser
levels left over, so it changes with the prediction; no gradient flows through it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.blocks.densities import bins_of, radius_of
from flowzoo.blocks.resize import scale_flow
from flowzoo.errors import InputError
from flowzoo.losses.max_pooling import PixelLoss, max_pooled, mean_over_valid
from flowzoo.network import FlowPrediction


def density_loss(
    prediction: FlowPrediction,
    flow: Tensor,
    valid: Tensor | None = None,
    *,
    share: float = 1.0,
    level_weights: Sequence[float] | None = None,
) -> Tensor:
    """Sum over levels of the mean divergence.

    Args:
        prediction: of an HD3.
        flow: true flow (B,2,H,W) in pixels of the images that were given to the network.
        valid: (B,H,W) or (B,1,H,W), above 0 where `flow` is known. With every pixel known (or None), levels get the
            flow interpolated; else the mean over the known pixels of each block.
        share: of the pixels that count, see `max_pooled`; 1 divides by all pixels, known or not, as published.
        level_weights: coarse to fine; None = 1 each.

    Raises:
        InputError: the network predicts no densities, or level_weights does not fit.
    """
    levels = density_losses(prediction, flow, valid)
    return _weighted(
        [level.values.mean() if share == 1 else max_pooled(level, share) for level in levels], level_weights
    )


def distillation_loss(
    prediction: FlowPrediction, flow: Tensor, valid: Tensor, *, level_weights: Sequence[float] | None = None
) -> Tensor:
    """The same against a teacher's flow: sum over levels of the mean over the pixels where that is valid.

    Hofinger et al.: "Improving Optical Flow on a Pyramid Level", ECCV 2020, section 3.4; without max-pooling.
    """
    return _weighted([mean_over_valid(level) for level in density_losses(prediction, flow, valid)], level_weights)


def _weighted(values: Sequence[Tensor], level_weights: Sequence[float] | None) -> Tensor:
    weights = [1.0] * len(values) if level_weights is None else level_weights
    if len(weights) != len(values):
        raise InputError(f"the density loss needs {len(values)} level weights, got {len(weights)}")
    return torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum()


def density_losses(prediction: FlowPrediction, flow: Tensor, valid: Tensor | None = None) -> list[PixelLoss]:
    """Every level's divergence at every pixel, coarse to fine; arguments as in `density_loss`."""
    details = prediction.details
    if "logits" not in details:
        raise InputError("the density loss needs a network that predicts densities, such as hd3")
    logits, flows = details["logits"], details["level_flows"]
    tall, wide = details["network_size"]
    height, width = flow.shape[2:]
    # From pixels of the image to pixels of the network's input.
    flow = scale_flow(flow.detach(), wide / width, tall / height)
    if valid is not None:
        valid = valid.reshape(len(flow), 1, height, width) > 0
        # Looking at a device's numbers would stop everything until they are there.
        if valid.device.type == "cpu" and bool(valid.all()):
            valid = None
    losses = []
    coarse = None
    for scores, level_flow in zip(logits, flows, strict=True):
        size = scores.shape[2:]
        truth, known = truth_at(flow, valid, (size[0], size[1]))
        if coarse is not None:
            truth = truth - F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)
        losses.append(_divergence(scores, truth * (size[0] / tall), known))
        coarse = level_flow.detach()
    return losses


def truth_at(flow: Tensor, valid: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """True flow (B,2,H,W) at a level's size, its values unchanged, and where it is known (B,h,w).

    Dense flow, without `valid` or with all of it true, is interpolated bilinearly with aligned corners; with some of
    `valid` (B,1,H,W) bool, a pixel of the level is the mean over the known pixels it covers.
    """
    dense = F.interpolate(flow, size=size, mode="bilinear", align_corners=True)
    if valid is None:
        return dense, None
    share = F.adaptive_avg_pool2d(valid.to(flow.dtype), size)
    mean = F.adaptive_avg_pool2d(torch.where(valid, flow, 0.0), size)
    return torch.where(valid.all(), dense, mean / (share + 1e-9)), share[:, 0] > 0


def _divergence(logits: Tensor, target: Tensor, known: Tensor | None) -> PixelLoss:
    """Kullback-Leibler divergence of softmax(logits) from the density of `target` (B,2,h,w), pixels of the level."""
    radius = radius_of(logits.shape[1])
    place, mass = bins_of(target.to(logits.dtype), radius)
    log_density = logits.log_softmax(dim=1).gather(1, place)
    values = (torch.xlogy(mass, mass) - mass * log_density).sum(1)
    reachable = (target.abs() <= radius).all(dim=1)
    if known is not None:
        values = torch.where(known, values, 0.0)
    return PixelLoss(values, known, reachable)
