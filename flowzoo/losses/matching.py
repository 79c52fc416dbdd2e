"""The loss of a global matcher: how far its density over positions is from the true position."""

import math

import torch
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.losses.targets import known_pixels
from flowzoo.network import FlowPrediction

FLOOR = 1e-5
"""Probability below which it costs no more: hidden pixels cannot be found."""


def matching_loss(prediction: FlowPrediction, flow: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean Kullback-Leibler divergence from the true position, spread bilinearly over its four neighbours.

    Pixels count whose flow is known and leads into the image.

    Args:
        prediction: of a network with `details["match_scores"]`: (B,h,w,h*w), for every pixel of a map the logits of the
            positions of the second image's, row by row.
        flow: true flow (B,2,H,W) in pixels of the images.
        valid: (B,H,W) or (B,1,H,W), above 0 where `flow` is known.

    Raises:
        InputError: the network has no such scores.
    """
    if "match_scores" not in prediction.details:
        raise InputError('the loss "matching" needs a network that matches globally, such as wren with matching=global')
    scores = prediction.details["match_scores"]
    height, width = scores.shape[1:3]
    flow, known = known_pixels(flow.float(), valid)
    target, counts = target_of(flow, known, (height, width))
    place, share = neighbours(target, (height, width))
    log_density = scores.float().log_softmax(dim=3)
    reached = torch.logaddexp(log_density.gather(3, place), log_density.new_full((), math.log(FLOOR)))
    cost = (torch.xlogy(share, share) - share * reached).sum(dim=3) * counts
    return cost.sum() / counts.sum().clamp(min=1)


def target_of(flow: Tensor, known: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where the pixels of a map lie in the second map, and which of them count.

    Args:
        flow: (B,2,H,W), pixels of the images; known: (B,1,H,W), 0 or 1.
        size: (h,w) of the map. Each of its pixels has the flow at its middle: a mean would lie between two motions.

    Returns:
        (B,2,h,w) x then y, pixels of the map, and (B,h,w) 0 or 1: known, and inside the map.
    """
    (height, width), (tall, wide) = size, flow.shape[-2:]
    rows = ((torch.arange(height, device=flow.device) + 0.5) * (tall / height)).long()
    columns = ((torch.arange(width, device=flow.device) + 0.5) * (wide / width)).long()
    middle = flow[:, :, rows][:, :, :, columns]
    x = torch.arange(width, device=flow.device) + middle[:, 0] * (width / wide)
    y = torch.arange(height, device=flow.device)[:, None] + middle[:, 1] * (height / tall)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return torch.stack([x, y], dim=1), known[:, 0][:, rows][:, :, columns] * inside


def neighbours(target: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The four positions around `target` (B,2,h,w), pulled into the map: numbers (B,h,w,4) and shares that add to 1."""
    height, width = size
    x, y = target[:, 0].clamp(0, width - 1), target[:, 1].clamp(0, height - 1)
    left, above = x.floor().clamp(max=max(width - 2, 0)), y.floor().clamp(max=max(height - 2, 0))
    right, below = (left + 1).clamp(max=width - 1), (above + 1).clamp(max=height - 1)
    fx, fy = x - left, y - above
    place = torch.stack(
        [above * width + left, above * width + right, below * width + left, below * width + right], dim=3
    )
    share = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=3)
    return place.long(), share
