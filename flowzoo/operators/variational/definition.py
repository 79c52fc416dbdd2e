"""The terms of variational flow in plain torch: the definitions of its operators."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators.precision import working_dtype
from flowzoo.operators.relaxation.definition import relaxation
from flowzoo.operators.warp import warp

AROUND = 5
"""Pixels: side of the window over which images are compared for the reliability."""


class StepNumbers(NamedTuple):
    """The numbers of a step, in the order in which the operator and its kernels take them.

    Attributes:
        normaliser, mismatch, least: see `variational_data`.
        alpha, delta, gamma, epsilon: see `variational_system`.
        sweeps, factor: see `relaxation`.
        largest: pixels; either component of the flow changes by at most this.
    """

    normaliser: float
    mismatch: float
    least: float
    alpha: float
    delta: float
    gamma: float
    epsilon: float
    sweeps: int
    factor: float
    largest: float

    def parts(
        self,
    ) -> tuple[tuple[float, float, float], tuple[float, float, float, float], tuple[int, float, float]]:
        """Those of the data, of the system, and of the solver with `largest`."""
        data = self.normaliser, self.mismatch, self.least
        return data, (self.alpha, self.delta, self.gamma, self.epsilon), (self.sweeps, self.factor, self.largest)


def variational_data(
    first: Tensor, second: Tensor, flow: Tensor, normaliser: float, mismatch: float, least: float
) -> Tensor:
    """(B,1,H,W) twice and (B,2,H,W) -> (B,11,H,W)."""
    dtype, kept = working_dtype(flow), flow.dtype
    first, second, flow = first.to(dtype), second.to(dtype), flow.to(dtype)
    warped = warp(second, flow)
    x, y = _gradient((first + warped) / 2)
    (xx, xy), (_, yy) = _gradient(x), _gradient(y)
    t = warped - first
    xt, yt = _gradient(t)
    trust = _inside(flow) * reliability(t, mismatch, least)
    pairs = ((x, y), (xx, xy), (xy, yy))
    weights = [trust / (a * a + b * b + normaliser**2) for a, b in pairs]
    return torch.cat([x, y, xx, xy, yy, t, xt, yt, *weights], dim=1).to(kept)


def reliability(change: Tensor, mismatch: float, least: float) -> Tensor:
    """How far a flow is to be believed, (B,1,H,W) in least..1.

    `change` (B,1,H,W): grey of the second image at the end of the flow less that of the first, of 255. `mismatch`: its
    mean size around a pixel that takes most of the reliability.
    """
    around = F.avg_pool2d(change.abs(), AROUND, stride=1, padding=AROUND // 2, count_include_pad=False)
    return least + (1 - least) * torch.exp(-around / mismatch)


def flow_reliability(first: Tensor, second: Tensor, flow: Tensor, mismatch: float, least: float) -> Tensor:
    """(B,1,H,W) twice and (B,2,H,W) -> (B,1,H,W)."""
    dtype, kept = working_dtype(flow), flow.dtype
    change = warp(second.to(dtype), flow.to(dtype)) - first.to(dtype)
    return reliability(change, mismatch, least).to(kept)


def variational_system(
    data: Tensor, edges: Tensor, flow: Tensor, step: Tensor, alpha: float, delta: float, gamma: float, epsilon: float
) -> Tensor:
    """(B,11,H,W) and (B,2,H,W) three times -> (B,7,H,W)."""
    dtype, kept = working_dtype(data), data.dtype
    edges, flow, step = edges.to(dtype), flow.to(dtype), step.to(dtype)
    x, y, xx, xy, yy, t, xt, yt, n0, n1, n2 = data.to(dtype).split(1, dim=1)
    du, dv = step[:, :1], step[:, 1:]
    brightness, across, down = t + x * du + y * dv, xt + xx * du + xy * dv, yt + xy * du + yy * dv
    k0 = delta * n0 / (brightness**2 * n0 + epsilon**2).sqrt()
    k = gamma / (across**2 * n1 + down**2 * n2 + epsilon**2).sqrt()
    k1, k2 = k * n1, k * n2
    smoothness = _smoothness(flow + step, alpha, epsilon)
    right, below = (a * b for a, b in zip(smoothness, edges.split(1, dim=1), strict=True))
    pull = _divergence(flow, right, below)
    return torch.cat(
        [
            k0 * x * x + k1 * xx * xx + k2 * xy * xy,
            k0 * x * y + k1 * xx * xy + k2 * xy * yy,
            k0 * y * y + k1 * xy * xy + k2 * yy * yy,
            pull[:, :1] - (k0 * x * t + k1 * xx * xt + k2 * xy * yt),
            pull[:, 1:] - (k0 * y * t + k1 * xy * xt + k2 * yy * yt),
            right,
            below,
        ],
        dim=1,
    ).to(kept)


def variational_step(first: Tensor, second: Tensor, edges: Tensor, flow: Tensor, *numbers: float) -> Tensor:
    """(B,1,H,W) twice, (B,2,H,W) twice, and those of `StepNumbers` -> (B,2,H,W)."""
    terms, weights, (sweeps, factor, largest) = StepNumbers._make(numbers).parts()
    data = variational_data(first, second, flow, *terms)
    still = torch.zeros_like(flow)
    system = variational_system(data, edges, flow, still, *weights)
    step = relaxation(system, still, sweeps, factor)
    # A single pixel has neither derivatives nor neighbours: 0 / 0.
    return flow + step.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf).clamp(-largest, largest)


def _inside(flow: Tensor) -> Tensor:
    """1 where the flow ends inside the image, else 0: (B,1,H,W)."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, :1]
    y = torch.arange(height, device=flow.device).view(-1, 1) + flow[:, 1:]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).to(flow.dtype)


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, edges replicated."""
    if image.shape[0] == 0:  # which replicate padding refuses
        return image, image
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2


def _smoothness(flow: Tensor, alpha: float, epsilon: float) -> tuple[Tensor, Tensor]:
    """alpha psi' between each pixel and its right and lower neighbour, (B,1,H,W); 0 at the last column and row."""
    across = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
    down = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
    weight = alpha / 2 / ((across.square() + down.square()).sum(dim=1, keepdim=True) + epsilon**2).sqrt()
    right = F.pad(weight[..., :-1] + weight[..., 1:], (0, 1))
    below = F.pad(weight[..., :-1, :] + weight[..., 1:, :], (0, 0, 0, 1))
    return right, below


def _divergence(flow: Tensor, right: Tensor, below: Tensor) -> Tensor:
    """Sum over the four neighbours of weight (their flow - mine)."""
    across = right[..., :-1] * (flow[..., 1:] - flow[..., :-1])
    down = below[..., :-1, :] * (flow[..., 1:, :] - flow[..., :-1, :])
    total = F.pad(across, (0, 1)) - F.pad(across, (1, 0))
    return total + F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0))
