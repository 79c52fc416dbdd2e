"""Losses between two batches of images: what a correspondence-wise loss is built around.

Each is a callable of two batches (B,3,H,W) that returns a scalar.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from flowzoo.errors import InputError
from flowzoo.settings import suggestion

ImageLoss = Callable[[Tensor, Tensor], Tensor]


def l1(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (first - second).abs().mean()


def l2(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference (the papers' L2 squared)."""
    return (first - second).square().mean()


class MeanOf(nn.Module):
    """The mean of several losses, as the correspondence-wise authors combine L1 and the perceptual loss."""

    def __init__(self, losses: Sequence[ImageLoss]) -> None:
        super().__init__()
        self.losses = tuple(losses)
        self.modules_among = nn.ModuleList([loss for loss in losses if isinstance(loss, nn.Module)])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """A scalar."""
        return torch.stack([loss(first, second) for loss in self.losses]).mean()


NAMED: dict[str, ImageLoss] = {"l1": l1, "l2": l2}


def image_loss(base: str | ImageLoss) -> ImageLoss:
    """The loss that a name stands for ("l1", "l2"); a callable stands for itself.

    Raises:
        InputError: an unknown name.
    """
    if not isinstance(base, str):
        return base
    if base not in NAMED:
        raise InputError(f"no image loss named {base!r}: {suggestion(base, NAMED)}, or give a callable of two batches")
    return NAMED[base]
