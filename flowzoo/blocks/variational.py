"""Variational refinement: polishes a flow by minimising brightness, gradient and smoothness terms (Brox et al. 2004).

    E(w) = sum  delta psi((I2(p+w) - I1(p))^2) + gamma psi(|grad I2(p+w) - grad I1(p)|^2) + alpha psi(|grad w|^2)

with psi(s^2) = sqrt(s^2 + epsilon^2); the first two are divided by the gradients' size, so that strong edges do not
outweigh the rest (Zimmer et al. 2011). Linearised about the given flow, the robust weights are held for a few fixed-
point steps, and each linear system is relaxed by red-black SOR. Not differentiable: a step after the network.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.blocks.relaxation import System, relax
from flowzoo.operators import warp

EPSILON = 1e-3
NORMALISER = 0.1  # grey levels per pixel: gradients below it do not count as edges


@dataclass(frozen=True)
class VariationalSettings:
    """Weights of the terms (for images in 0..255), and how long to iterate.

    Attributes:
        alpha, delta, gamma: smoothness, brightness, gradient.
        warps: times that the second image is sampled anew at the flow so far.
        fixed_points: times that the robust weights are computed, a warp.
        sweeps: SOR sweeps for each of these; `relaxation` is SOR's factor, 1 to 2.
        largest: a warp changes the flow by at most this, pixels; the linearisation holds no further.
    """

    alpha: float = 20.0
    delta: float = 5.0
    gamma: float = 10.0
    warps: int = 1
    fixed_points: int = 5
    sweeps: int = 5
    relaxation: float = 1.6
    largest: float = 3.0


@torch.no_grad()
def variational_refinement(
    first: Tensor, second: Tensor, flow: Tensor, settings: VariationalSettings | None = None
) -> Tensor:
    """A refined flow.

    Args:
        first, second: (B,3,H,W) RGB in [0,1].
        flow: (B,2,H,W), pixels.
        settings: None = the defaults.

    Returns:
        (B,2,H,W) float32.
    """
    settings = settings or VariationalSettings()
    flow = flow.float().contiguous()
    if 0 in flow.shape or min(flow.shape[-2:]) < 2:
        return flow
    grey_first, grey_second = (images.float().mean(dim=1, keepdim=True) * 255 for images in (first, second))
    for _ in range(settings.warps):
        flow = flow + _increment(grey_first, grey_second, flow, settings)
    return flow


def _increment(first: Tensor, second: Tensor, flow: Tensor, settings: VariationalSettings) -> Tensor:
    """The change of `flow` that one linearisation asks for."""
    warped = warp(second, flow)
    seen = _inside(flow)
    mean = (first + warped) / 2
    x, y = _gradient(mean)
    (xx, xy), (_, yy) = _gradient(x), _gradient(y)
    change = warped - first
    xt, yt = _gradient(change)
    # Rows of (coefficient of du, coefficient of dv, constant): brightness, then both parts of the gradient.
    brightness = (x, y, change, settings.delta * seen / (x * x + y * y + NORMALISER**2))
    across = (xx, xy, xt, settings.gamma * seen / (xx * xx + xy * xy + NORMALISER**2))
    down = (xy, yy, yt, settings.gamma * seen / (xy * xy + yy * yy + NORMALISER**2))
    step = torch.zeros_like(flow)
    for _ in range(settings.fixed_points):
        du, dv = step[:, :1], step[:, 1:]
        r_brightness, r_across, r_down = (
            torch.addcmul(torch.addcmul(c, a, du), b, dv) for a, b, c, _ in (brightness, across, down)
        )
        # psi' of the normalised residuals; the two gradient residuals share theirs.
        k0 = brightness[3] / (r_brightness**2 * (brightness[3] / settings.delta) + EPSILON**2).sqrt()
        both = r_across**2 * (across[3] / settings.gamma) + r_down**2 * (down[3] / settings.gamma)
        share = (both + EPSILON**2).rsqrt()
        k1, k2 = across[3] * share, down[3] * share
        a11 = k0 * x * x + k1 * xx * xx + k2 * xy * xy
        a12 = k0 * x * y + k1 * xx * xy + k2 * xy * yy
        a22 = k0 * y * y + k1 * xy * xy + k2 * yy * yy
        b1 = -(k0 * x * change + k1 * xx * xt + k2 * xy * yt)
        b2 = -(k0 * y * change + k1 * xy * xt + k2 * yy * yt)
        right, below = _smoothness(flow + step, settings.alpha)
        pull = _divergence(flow, right, below)
        system = System(a11, a12, a22, b1 + pull[:, :1], b2 + pull[:, 1:], right, below)
        step = relax(system, step, settings.sweeps, settings.relaxation)
    return step.clamp_(-settings.largest, settings.largest)


def _inside(flow: Tensor) -> Tensor:
    """1 where the flow ends inside the image, else 0: (B,1,H,W)."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, :1]
    y = torch.arange(height, device=flow.device).view(-1, 1) + flow[:, 1:]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).to(flow.dtype)


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, edges replicated."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2


def _smoothness(flow: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """alpha psi' between each pixel and its right and lower neighbour, (B,1,H,W); 0 at the last column and row."""
    across = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
    down = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
    size = (across.square() + down.square()).sum(dim=1, keepdim=True)
    weight = alpha / 2 * (size + EPSILON**2).rsqrt()
    right, below = torch.zeros_like(weight), torch.zeros_like(weight)
    torch.add(weight[..., :-1], weight[..., 1:], out=right[..., :-1])
    torch.add(weight[..., :-1, :], weight[..., 1:, :], out=below[..., :-1, :])
    return right, below


def _divergence(flow: Tensor, right: Tensor, below: Tensor) -> Tensor:
    """Sum over the four neighbours of weight (their flow - mine)."""
    across = right[..., :-1] * (flow[..., 1:] - flow[..., :-1])
    down = below[..., :-1, :] * (flow[..., 1:, :] - flow[..., :-1, :])
    total = F.pad(across, (0, 1)) - F.pad(across, (1, 0))
    return total + F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0))
