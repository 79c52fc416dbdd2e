"""Convex upsampling in plain torch: the definition of the operator and of its gradients."""

import torch
from torch import Tensor

from flowzoo.operators.precision import working_dtype


def convex_upsampling(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    """(B,2,h,w) and (B,9*factor^2,h,w) -> (B,2,h*factor,w*factor)."""
    dtype = working_dtype(flow)
    weights, windows = _weights_and_windows(flow.to(dtype), logits, factor)
    batch, _, parts, height, width = weights.shape
    fine = windows[0].new_zeros(batch, 2, parts, height, width)
    for k, window in enumerate(windows):
        fine = fine.addcmul(weights[:, k].unsqueeze(1), window.unsqueeze(2))
    fine = fine.reshape(batch, 2, factor, factor, height, width).permute(0, 1, 4, 2, 5, 3)
    return fine.reshape(batch, 2, height * factor, width * factor).to(flow.dtype)


def convex_upsampling_backward(gradient: Tensor, flow: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """What `gradient` of the result means for flow and logits; itself made of differentiable parts."""
    dtype = working_dtype(flow)
    weights, windows = _weights_and_windows(flow.to(dtype), logits, factor)
    batch, _, parts, height, width = weights.shape
    patches = gradient.to(dtype).reshape(batch, 2, height, factor, width, factor).permute(0, 1, 3, 5, 2, 4)
    patches = patches.reshape(batch, 2, parts, height, width)
    to_weights = torch.stack([(patches * window.unsqueeze(2)).sum(dim=1) for window in windows], dim=1)
    to_logits = weights * (to_weights - (weights * to_weights).sum(dim=1, keepdim=True))
    padded = patches.new_zeros(batch, 2, height + 2, width + 2)
    for k in range(9):
        share = (patches * weights[:, k].unsqueeze(1)).sum(dim=2) * factor
        below, right = 2 - k // 3, 2 - k % 3
        padded = padded + torch.nn.functional.pad(share, (2 - right, right, 2 - below, below))
    to_logits = to_logits.reshape(logits.shape).to(logits.dtype)
    return _unpadded(padded).to(flow.dtype), to_logits.contiguous(memory_format=torch.channels_last)


def _weights_and_windows(flow: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, list[Tensor]]:
    """Softmax weights (B,9,factor^2,h,w), and the flow (B,2,h,w) in fine pixels as each of the nine taps sees it."""
    batch, _, height, width = flow.shape
    weights = logits.to(flow.dtype).reshape(batch, 9, factor * factor, height, width).softmax(dim=1)
    padded = _padded(flow * factor)
    windows = [padded[..., dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
    return weights, windows


def _padded(flow: Tensor) -> Tensor:
    """A border of one with the edge values; replicate padding by hand, which also takes a batch of 0."""
    rows = torch.cat([flow[..., :1, :], flow, flow[..., -1:, :]], dim=-2)
    return torch.cat([rows[..., :1], rows, rows[..., -1:]], dim=-1)


def _unpadded(gradient: Tensor) -> Tensor:
    """The adjoint of `_padded`: border gradients are added to the edge they were copied from."""
    for dimension in (-1, -2):
        size = gradient.shape[dimension] - 2
        first, middle, last = gradient.split([1, size, 1], dim=dimension)
        gradient = torch.cat(
            [middle.narrow(dimension, 0, 1) + first, middle.narrow(dimension, 1, size - 1)], dim=dimension
        )
        gradient = torch.cat(
            [gradient.narrow(dimension, 0, size - 1), gradient.narrow(dimension, size - 1, 1) + last], dim=dimension
        )
    return gradient
