"""Variational flow: the data terms linearised about a flow, and the linear system of a fixed-point step.

`flowzoo.blocks.variational` states the energy and iterates; `relaxation` solves the systems.
"""

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_flow, check_maps, check_real, check_shape, check_whole
from flowzoo.operators.variational.definition import StepNumbers
from flowzoo.operators.variational.registered import (
    FLOW_RELIABILITY,
    VARIATIONAL_DATA,
    VARIATIONAL_STEP,
    VARIATIONAL_SYSTEM,
)


def variational_data(
    first: Tensor, second: Tensor, flow: Tensor, normaliser: float, mismatch: float, least: float
) -> Tensor:
    """What the data terms need about `flow`.

    Derivatives x, y, xx, xy, yy of the mean image, the change of grey and of its gradient (t, xt, yt), and the weights
    of these three residuals: the reciprocals of their squared normalisers (Zimmer et al. 2011) times the reliability
    (see definition.reliability), 0 where the flow leaves the image.

    Args:
        first, second: (B,1,H,W) grey images in 0..255.
        flow: (B,2,H,W), x then y, pixels.
        normaliser: grey levels per pixel; gradients below it do not count as edges.
        mismatch: mean difference of the images, in grey levels, that takes most of the weight.
        least: of the reliability, of 1.

    Returns:
        (B,11,H,W), without gradient.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("first", first, channels=1)
    check_shape("second", second, first.shape, "first", first)
    check_flow(flow, "first", first)
    numbers = normaliser, mismatch, least
    for name, value in zip(("normaliser", "mismatch", "least"), numbers, strict=True):
        check_real(name, value)
    result: Tensor = VARIATIONAL_DATA(first, second, flow, *numbers)
    return result


def flow_reliability(first: Tensor, second: Tensor, flow: Tensor, mismatch: float, least: float) -> Tensor:
    """How far a flow is to be believed: it falls where the images disagree about it.

    Args:
        first, second: (B,1,H,W) grey images in 0..255.
        flow: (B,2,H,W), x then y, pixels.
        mismatch: mean difference around a pixel, in grey levels, that takes most of it.
        least: of it, of 1.

    Returns:
        (B,1,H,W) in least..1, without gradient.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("first", first, channels=1)
    check_shape("second", second, first.shape, "first", first)
    check_flow(flow, "first", first)
    check_real("mismatch", mismatch)
    check_real("least", least)
    result: Tensor = FLOW_RELIABILITY(first, second, flow, mismatch, least)
    return result


def variational_system(
    data: Tensor, edges: Tensor, flow: Tensor, step: Tensor, alpha: float, delta: float, gamma: float, epsilon: float
) -> Tensor:
    """The linear system of a fixed-point step, as `relaxation` takes it.

    Args:
        data: (B,11,H,W), of `variational_data`.
        edges: (B,2,H,W), factors of the smoothness between a pixel and its right and its lower neighbour.
        flow: (B,2,H,W), x then y, pixels: what the data were linearised about.
        step: (B,2,H,W), the change of the flow so far, pixels.
        alpha, delta, gamma: weights of smoothness, brightness and gradient.
        epsilon: of the robust function sqrt(s^2 + epsilon^2).

    Returns:
        (B,7,H,W), without gradient.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("data", data, channels=11)
    check_flow(flow, "data", data)
    check_shape("edges", edges, flow.shape, "flow", flow)
    check_shape("step", step, flow.shape, "flow", flow)
    numbers = alpha, delta, gamma, epsilon
    for name, value in zip(("alpha", "delta", "gamma", "epsilon"), numbers, strict=True):
        check_real(name, value)
    result: Tensor = VARIATIONAL_SYSTEM(data, edges, flow, step, *numbers)
    return result


def variational_step(first: Tensor, second: Tensor, edges: Tensor, flow: Tensor, numbers: StepNumbers) -> Tensor:
    """`flow` after one linearisation: `variational_data`, `variational_system` from no step, and `relaxation`, in one.

    The flow stays where the system has no solution, as for an image of a single pixel.

    Args:
        first, second: see `variational_data`.
        edges: see `variational_system`.
        flow: (B,2,H,W), x then y, pixels.
        numbers: of the three, and how far the flow may move.

    Returns:
        (B,2,H,W), without gradient.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("first", first, channels=1)
    check_shape("second", second, first.shape, "first", first)
    check_flow(flow, "first", first)
    check_shape("edges", edges, flow.shape, "flow", flow)
    if not isinstance(numbers, StepNumbers):
        raise InputError(f"numbers must be StepNumbers, got {type(numbers).__name__}")
    check_whole("sweeps", numbers.sweeps, 0)
    for name, value in numbers._asdict().items():
        check_real(name, value)
    result: Tensor = VARIATIONAL_STEP(first, second, edges, flow, *numbers)
    return result
