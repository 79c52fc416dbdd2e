"""Variational refinement: polishes a flow by minimising brightness, gradient and smoothness terms (Brox et al. 2004).

    E(w) = sum  delta psi(r |I2(p+w) - I1(p)|^2) + gamma psi(r |grad I2(p+w) - grad I1(p)|^2) + e alpha psi(|grad w|^2)

with psi(s^2) = sqrt(s^2 + epsilon^2); residuals of the first two are divided by the size of the gradients they are
linearised with, so that strong edges do not outweigh the rest (Zimmer et al. 2011). r, the reliability, falls where the
images disagree about the flow so far, as where a point is hidden in the second image. e falls across edges of the first
image, where motions tend to meet. Linearised about the flow so far, the robust weights are held for a fixed-point
step, and its linear system is relaxed by red-black SOR; first on reduced images, whose change of the flow is added to
it. Has no derivative of its own: a step after the network.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo import operators
from flowzoo.blocks.relaxation import relax
from flowzoo.blocks.resize import scale_flow
from flowzoo.operators.checks import check_flow, check_maps, check_shape
from flowzoo.operators.variational.definition import StepNumbers

EPSILON = 1e-2
NORMALISER = 0.1  # grey levels per pixel: gradients below it do not count as edges
SMALLEST = 16  # pixels; images are not reduced below this side
MISMATCH = 10.0  # grey levels: mean difference of the images that takes most of the reliability
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
    mismatch: float = MISMATCH
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

    Raises:
        InputError: shapes or devices that do not fit.
    """
    check_pair(first, second, flow)
    settings = settings or VariationalSettings()
    flow = flow.float().contiguous()
    height, width = flow.shape[-2:]
    if flow.shape[0] == 0 or min(height, width) < 2:
        return flow
    first, second = first.float().contiguous(), second.float().contiguous()
    colours = first * 255
    smoothing = _gaussian(settings.blur)
    greys = [operators.smoothed_greys(image, smoothing) for image in (first, second)]
    for reduction, warps in reversed(list(enumerate(settings.warps))):
        size = -(-height // 2**reduction), -(-width // 2**reduction)
        if reduction and min(size) < SMALLEST:
            continue
        scale = size[1] / width, size[0] / height
        reduced = [operators.area_means(maps, *size) if reduction else maps for maps in (*greys, colours, flow)]
        one, two, colour, before = reduced
        before = scale_flow(before, *scale) if reduction else before
        edges = edge_weights(colour, settings)
        after = before
        for _ in range(warps):
            after = _moved(one, two, edges, after, settings)
        if not reduction:
            return after
        change = after - before
        change = torch.cat([change[:, :1] / scale[0], change[:, 1:] / scale[1]], dim=1)
        flow = flow + F.interpolate(change, (height, width), mode="bilinear")
    return flow


def check_pair(first: Tensor, second: Tensor, flow: Tensor) -> None:
    """Two (B,3,H,W) images and the flow between them, or an InputError."""
    check_maps("first", first, channels=3)
    check_shape("second", second, first.shape, "first", first)
    check_flow(flow, "first", first)


def grey_levels(images: Tensor) -> Tensor:
    """(B,3,H,W) RGB in [0,1] -> the mean colour, (B,1,H,W) float32 in 0..255."""
    return operators.smoothed_greys(images.float(), [1.0])


def edge_weights(colours: Tensor, settings: VariationalSettings) -> Tensor:
    """Factors of the smoothness between each pixel of (B,3,H,W) and its right and its lower neighbour, (B,2,H,W)."""
    weights = operators.contrasts(colours)
    return weights.mul_(-1 / settings.edge).exp_().mul_(1 - LEAST).add_(LEAST)


def _moved(first: Tensor, second: Tensor, edges: Tensor, flow: Tensor, settings: VariationalSettings) -> Tensor:
    """`flow` with the change that one linearisation asks for."""
    weights = settings.alpha, settings.delta, settings.gamma, EPSILON
    trust = NORMALISER, settings.mismatch, LEAST
    solver = settings.sweeps, settings.relaxation
    if settings.fixed_points == 1:
        numbers = StepNumbers(*trust, *weights, *solver, settings.largest)
        return operators.variational_step(first, second, edges, flow, numbers)
    data = operators.variational_data(first, second, flow, *trust)
    step = torch.zeros_like(flow)
    for _ in range(settings.fixed_points):
        system = operators.variational_system(data, edges, flow, step, *weights)
        step = relax(system, step, *solver)
    return flow + step.clamp_(-settings.largest, settings.largest)


def _gaussian(deviation: float) -> list[float]:
    """Weights of a pixel and its neighbours along an axis; of the pixel alone without a deviation."""
    if deviation <= 0:
        return [1.0]
    reach = max(1, int(3 * deviation + 0.5))
    heights = [math.exp(-0.5 * (place / deviation) ** 2) for place in range(-reach, reach + 1)]
    return [height / sum(heights) for height in heights]
