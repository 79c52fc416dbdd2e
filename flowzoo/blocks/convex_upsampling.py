"""Convex upsampling (RAFT, section 3.3): a fine flow is a learned weighted mean of the 3x3 coarse ones around it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def convex_upsampling(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    """Flow at `factor` times the size, in pixels of the finer grid.

    Args:
        flow: (B,2,h,w), pixels of its own grid.
        logits: (B,9*factor^2,h,w); channel k*factor^2 + (fy*factor + fx) weighs neighbour k (row by row through the
            3x3 window, edges replicated) for the fine pixel (fy, fx) of each coarse one. A softmax over k is taken.
        factor: whole number from 1 up.

    Returns:
        (B,2,h*factor,w*factor), of the flow's dtype.
    """
    batch, _, height, width = flow.shape
    weights = logits.to(flow.dtype).reshape(batch, 9, factor * factor, height, width).softmax(dim=1)
    fine: Tensor = _Combination.apply(weights, flow * factor)
    fine = fine.reshape(batch, 2, factor, factor, height, width).permute(0, 1, 4, 2, 5, 3)
    return fine.reshape(batch, 2, height * factor, width * factor)


def _windows(padded: Tensor, height: int, width: int) -> list[Tensor]:
    """The nine shifted (…,height,width) views of a map with a border of one."""
    return [padded[..., dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]


class _Combination(torch.autograd.Function):
    """out[b,c,s,y,x] = sum_k weights[b,k,s,y,x] * flow[b,c,y+dy(k),x+dx(k)], without the 9-fold temporaries.

    As a broadcast product the temporaries of this one line cost a third of a training step on a CPU; here nothing
    larger than the output is ever allocated, in either direction.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, flow: Tensor) -> Tensor:
        batch, _, parts, height, width = weights.shape
        padded = _padded(flow)
        out = flow.new_zeros(batch, 2, parts, height, width)
        for k, window in enumerate(_windows(padded, height, width)):
            for c in range(2):
                out[:, c].addcmul_(weights[:, k], window[:, c : c + 1])
        ctx.save_for_backward(weights, padded)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        weights, padded = ctx.saved_tensors
        height, width = weights.shape[-2:]
        wanted_weights, wanted_flow = ctx.needs_input_grad
        to_weights = torch.empty_like(weights) if wanted_weights else None
        to_padded = torch.zeros_like(padded) if wanted_flow else None
        for k, window in enumerate(_windows(padded, height, width)):
            if to_weights is not None:
                torch.mul(gradient[:, 0], window[:, :1], out=to_weights[:, k])
                to_weights[:, k].addcmul_(gradient[:, 1], window[:, 1:])
            if to_padded is not None:
                target = _windows(to_padded, height, width)[k]
                for c in range(2):
                    target[:, c] += (gradient[:, c] * weights[:, k]).sum(dim=1)
        return to_weights, None if to_padded is None else _unpadded(to_padded)


def _padded(flow: Tensor) -> Tensor:
    """A border of one with the edge values; replicate padding by hand, which also takes a batch of 0."""
    rows = torch.cat([flow[..., :1, :], flow, flow[..., -1:, :]], dim=-2)
    return torch.cat([rows[..., :1], rows, rows[..., -1:]], dim=-1)


def _unpadded(gradient: Tensor) -> Tensor:
    """The adjoint of `_padded`: border gradients are added to the edge they were copied from."""
    rows = gradient[..., 1:-1].clone()
    rows[..., 0] += gradient[..., 0]
    rows[..., -1] += gradient[..., -1]
    inner = rows[..., 1:-1, :].clone()
    inner[..., 0, :] += rows[..., 0, :]
    inner[..., -1, :] += rows[..., -1, :]
    return inner


def bilinear_upsampling(flow: Tensor, factor: int) -> Tensor:
    """(B,2,h,w) -> (B,2,h*factor,w*factor), pixels of the finer grid; half-pixel centres, edges replicated."""
    if flow.shape[0] == 0:
        return flow.new_zeros(0, 2, flow.shape[2] * factor, flow.shape[3] * factor)
    return F.interpolate(flow, scale_factor=factor, mode="bilinear", align_corners=False) * factor
