"""Losses of predicted frames: pixel by pixel or by correspondences, for deterministic and stochastic networks."""

from pathlib import Path

import torch
from torch import Tensor

from flowzoo.checkpoints.backbones import load_backbone
from flowzoo.creation import create_flow_network, default_weights
from flowzoo.losses.correspondence import CorrespondenceLoss
from flowzoo.losses.flow_magnitude import MagnitudePenalty
from flowzoo.losses.image import ImageLoss, MeanOf, image_loss, l1
from flowzoo.losses.perceptual import PerceptualLoss
from flowzoo.settings import parse_settings
from flowzoo.training.frames.settings import FrameLossSettings


def make_frame_loss(settings: FrameLossSettings, root: Path | None, device: torch.device) -> ImageLoss:
    """The loss of two batches of images in [-1,1].

    Raises:
        InputError: no weights for the backbone or the flow network, or settings that contradict each other.
    """
    base: ImageLoss
    if settings.base in ("l1", "l2"):
        base = image_loss(settings.base)
    else:
        perceptual = PerceptualLoss(load_backbone("vgg19", (root or Path()) / settings.backbone)).to(device)
        base = perceptual if settings.base == "perceptual" else MeanOf([l1, perceptual])
    if not settings.correspondence:
        return base
    weights = settings.flow_weights or default_weights(settings.flow)
    network = create_flow_network(settings.flow, weights, **parse_settings(list(settings.flow_settings)))
    penalty = None
    if settings.magnitude or settings.smooth:
        penalty = MagnitudePenalty(settings.magnitude, settings.smooth, settings.norm, settings.smoothness)
    return CorrespondenceLoss(
        base,
        network.to(device),
        settings.scaling,
        magnitude=penalty,
        flow_model=settings.flow_model,
        network_mode=settings.network_mode,
    )


def summed(loss: ImageLoss, made: Tensor, targets: Tensor) -> Tensor:
    """Sum over frames (B,N,3,H,W) of the loss against their targets; both in [0,1]."""
    pairs = zip(made.unbind(dim=1), targets.unbind(dim=1), strict=True)
    return torch.stack([loss(2 * frame - 1, 2 * target - 1) for frame, target in pairs]).sum()
