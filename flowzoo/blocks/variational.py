"""Variational refinement: polishes a flow by minimising brightness, gradient and smoothness terms (Brox et al. 2004).

    E(w) = sum  delta psi(r |I2(p+w) - I1(p)|^2) + gamma psi(r |grad I2(p+w) - grad I1(p)|^2) + e alpha psi(|grad w|^2)

with psi(s^2) = sqrt(s^2 + epsilon^2); residuals of the first two are divided by the size of the gradients they are
linearised with, so that strong edges do not outweigh the rest (Zimmer et al. 2011). r, the reliability, falls where the
images disagree about the flow so far, as where a point is hidden in the second image. e falls across edges of the first
image, where motions tend to meet. Linearised about the flow so far, the robust weights are held for a fixed-point
step, and its linear system is relaxed by red-black SOR; first on reduced images, whose change of the flow is added to
it. Not differentiable: a step after the network.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.blocks.relaxation import relax, run_kernel
from flowzoo.operators import warp

EPSILON = 1e-2
NORMALISER = 0.1  # grey levels per pixel: gradients below it do not count as edges
SMALLEST = 16  # pixels; images are not reduced below this side
AROUND = 5  # pixels: side of the window over which images are compared for the reliability
LEAST = 0.1  # of the reliability and of the smoothness across an edge, of 1


@dataclass(frozen=True)
class VariationalSettings:
    """Weights of the terms (for images in 0..255), and how long to iterate.

    Attributes:
        alpha, delta, gamma: smoothness, brightness, gradient.
        edge: difference of neighbouring colours, in grey levels, that takes most of the smoothness between them.
        mismatch: mean difference of the images, in grey levels, that takes most of the data terms' weight.
        blur: standard deviation of the Gaussian that the images are smoothed with, pixels.
        warps: times that the second image is sampled anew at the flow so far, at full size, half size, ...
        fixed_points: times that the robust weights are computed, a warp.
        sweeps: SOR sweeps for each of these; `relaxation` is SOR's factor, 1 to 2.
        largest: a warp changes the flow by at most this, pixels; the linearisation holds no further.
    """

    alpha: float = 30.0
    delta: float = 1.0
    gamma: float = 10.0
    edge: float = 7.0
    mismatch: float = 10.0
    blur: float = 0.6
    warps: tuple[int, ...] = (6, 4)
    fixed_points: int = 1
    sweeps: int = 10
    relaxation: float = 1.9
    largest: float = 1.0


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
    height, width = flow.shape[-2:]
    if flow.shape[0] == 0 or min(height, width) < 2:
        return flow
    colours = first.float() * 255
    greys = _blurred(torch.cat([colours, second.float() * 255]).mean(dim=1, keepdim=True), settings.blur)
    for reduction, warps in reversed(list(enumerate(settings.warps))):
        size = -(-height // 2**reduction), -(-width // 2**reduction)
        if reduction and min(size) < SMALLEST:
            continue
        scale = flow.new_tensor([size[1] / width, size[0] / height]).view(1, 2, 1, 1)
        before = F.interpolate(flow, size, mode="area") * scale if reduction else flow
        one, two = (F.interpolate(greys, size, mode="area") if reduction else greys).chunk(2)
        edges = edge_weights(F.interpolate(colours, size, mode="area") if reduction else colours, settings)
        after = before
        for _ in range(warps):
            after = after + _change(one, two, edges, after, settings)
        change = (after - before) / scale
        flow = flow + (F.interpolate(change, (height, width), mode="bilinear") if reduction else change)
    return flow


def reliability(change: Tensor, mismatch: float = VariationalSettings.mismatch) -> Tensor:
    """How far a flow is to be believed, (B,1,H,W) in LEAST..1.

    `change` (B,1,H,W): grey of the second image at the end of the flow less that of the first, of 255.
    """
    around = F.avg_pool2d(change.abs(), AROUND, stride=1, padding=AROUND // 2, count_include_pad=False)
    return LEAST + (1 - LEAST) * torch.exp(-around / mismatch)


def edge_weights(colours: Tensor, settings: VariationalSettings) -> Tensor:
    """Factors of the smoothness between each pixel of (B,3,H,W) and its right and its lower neighbour, (B,2,H,W)."""
    across = F.pad((colours[..., 1:] - colours[..., :-1]).abs().amax(dim=1, keepdim=True), (0, 1))
    down = F.pad((colours[..., 1:, :] - colours[..., :-1, :]).abs().amax(dim=1, keepdim=True), (0, 0, 0, 1))
    return LEAST + (1 - LEAST) * torch.exp(-torch.cat([across, down], dim=1) / settings.edge)


def _change(first: Tensor, second: Tensor, edges: Tensor, flow: Tensor, settings: VariationalSettings) -> Tensor:
    """The change of `flow` that one linearisation asks for."""
    data = linearised(first, second, flow, settings)
    step = torch.zeros_like(flow)
    for _ in range(settings.fixed_points):
        step = relax(system_of(data, edges, flow, step, settings), step, settings.sweeps, settings.relaxation)
    return step.clamp_(-settings.largest, settings.largest)


def linearised(first: Tensor, second: Tensor, flow: Tensor, settings: VariationalSettings) -> Tensor:
    """What the data terms need about `flow`, (B,11,H,W).

    Derivatives x, y, xx, xy, yy of the mean image, the change of grey and of its gradient (t, xt, yt), and the weights
    of these three residuals: the reciprocals of their squared normalisers times the reliability, 0 where the flow
    leaves the image.
    """
    batch, _, height, width = flow.shape
    data = flow.new_empty(batch, 11, height, width)
    reals = NORMALISER, settings.mismatch, LEAST
    if run_kernel("flowzoo_variational_data", (first, second, flow), data, (batch, height, width), reals):
        return data
    return portable_linearised(first, second, flow, settings)


def portable_linearised(first: Tensor, second: Tensor, flow: Tensor, settings: VariationalSettings) -> Tensor:
    """The definition of `linearised`."""
    warped = warp(second, flow)
    x, y = _gradient((first + warped) / 2)
    (xx, xy), (_, yy) = _gradient(x), _gradient(y)
    t = warped - first
    xt, yt = _gradient(t)
    trust = _inside(flow) * reliability(t, settings.mismatch)
    pairs = ((x, y), (xx, xy), (xy, yy))
    weights = [trust / (a * a + b * b + NORMALISER**2) for a, b in pairs]
    return torch.cat([x, y, xx, xy, yy, t, xt, yt, *weights], dim=1)


def system_of(data: Tensor, edges: Tensor, flow: Tensor, step: Tensor, settings: VariationalSettings) -> Tensor:
    """The linear system (B,7,H,W) of a fixed-point step, as `relax` takes it."""
    batch, _, height, width = data.shape
    system = data.new_empty(batch, 7, height, width)
    reals = settings.alpha, settings.delta, settings.gamma, EPSILON
    inputs = data, edges, flow, step
    if run_kernel("flowzoo_variational_system", inputs, system, (batch, height, width), reals):
        return system
    return portable_system(data, edges, flow, step, settings)


def portable_system(data: Tensor, edges: Tensor, flow: Tensor, step: Tensor, settings: VariationalSettings) -> Tensor:
    """The definition of `system_of`."""
    x, y, xx, xy, yy, t, xt, yt, n0, n1, n2 = data.split(1, dim=1)
    du, dv = step[:, :1], step[:, 1:]
    brightness, across, down = t + x * du + y * dv, xt + xx * du + xy * dv, yt + xy * du + yy * dv
    k0 = settings.delta * n0 / (brightness**2 * n0 + EPSILON**2).sqrt()
    k = settings.gamma / (across**2 * n1 + down**2 * n2 + EPSILON**2).sqrt()
    k1, k2 = k * n1, k * n2
    right, below = (a * b for a, b in zip(_smoothness(flow + step, settings.alpha), edges.split(1, dim=1), strict=True))
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
    )


def _inside(flow: Tensor) -> Tensor:
    """1 where the flow ends inside the image, else 0: (B,1,H,W)."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, :1]
    y = torch.arange(height, device=flow.device).view(-1, 1) + flow[:, 1:]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).to(flow.dtype)


def _blurred(images: Tensor, deviation: float) -> Tensor:
    """Gaussian blur of (B,1,H,W), edges replicated."""
    if deviation <= 0:
        return images
    reach = max(1, int(3 * deviation + 0.5))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / deviation) ** 2)
    weights = (weights / weights.sum()).to(images.dtype)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = sum(weight * padded[..., i : i + images.shape[-1]] for i, weight in enumerate(weights))
    return sum(
        (weight * rows[..., i : i + images.shape[-2], :] for i, weight in enumerate(weights)), images.new_zeros(())
    )


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, edges replicated."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2


def _smoothness(flow: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """alpha psi' between each pixel and its right and lower neighbour, (B,1,H,W); 0 at the last column and row."""
    across = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
    down = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
    weight = alpha / 2 / ((across.square() + down.square()).sum(dim=1, keepdim=True) + EPSILON**2).sqrt()
    right = F.pad(weight[..., :-1] + weight[..., 1:], (0, 1))
    below = F.pad(weight[..., :-1, :] + weight[..., 1:, :], (0, 0, 0, 1))
    return right, below


def _divergence(flow: Tensor, right: Tensor, below: Tensor) -> Tensor:
    """Sum over the four neighbours of weight (their flow - mine)."""
    across = right[..., :-1] * (flow[..., 1:] - flow[..., :-1])
    down = below[..., :-1, :] * (flow[..., 1:, :] - flow[..., :-1, :])
    total = F.pad(across, (0, 1)) - F.pad(across, (1, 0))
    return total + F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0))
