"""Local correlation: the cost volume of pyramid networks, and its transpose."""

import math

from torch import Tensor

from flowzoo.operators.checks import check_maps, check_same_shape, check_shape, check_window
from flowzoo.operators.correlation.registered import CORRELATE, GATHER


def correlation(first: Tensor, second: Tensor, radius: int, dilation: int = 1, stride: int = 1) -> Tensor:
    """Mean product of every feature vector of `first` with its displaced neighbours in `second`.

    out[b, (dy+r)*(2r+1) + (dx+r), y, x] = mean_c first[b,c,Y,X] * second[b, c, Y + dilation*dy, X + dilation*dx]
    for Y = stride*y, X = stride*x and dy, dx in -r..r; zero where the second position is outside the map. With `second`
    warped by the flow so far this is the cost volume of PWC-Net and LiteFlowNet, and equation 1 of "Improving Optical
    Flow on a Pyramid Level".

    Args:
        first: (B,C,H,W) features.
        second: the same shape.
        radius: largest displacement in steps, from 0 up; (2*radius+1)^2 of them.
        dilation: pixels between neighbouring displacements.
        stride: keeps rows and columns 0, stride, 2*stride, ... of the output.

    Returns:
        (B,(2r+1)^2,ceil(H/stride),ceil(W/stride)). Differentiable any number of times in both arguments.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("first", first)
    check_maps("second", second)
    check_same_shape("first", first, "second", second)
    check_window(radius, dilation, stride)
    # Both maps can be thinned by whatever stride and dilation share: those positions are never looked at.
    shared = math.gcd(stride, dilation)
    if shared > 1:
        first, second = first[:, :, ::shared, ::shared], second[:, :, ::shared, ::shared]
        stride, dilation = stride // shared, dilation // shared
    scale = 1.0 / first.shape[1]
    volume: Tensor = CORRELATE(first, second, radius, dilation, scale)
    return volume[:, :, ::stride, ::stride] if stride > 1 else volume


def correlation_transpose(residual: Tensor, second: Tensor, radius: int, dilation: int = 1) -> Tensor:
    """The gradient of `correlation` with respect to its first argument, itself differentiable in both arguments.

    out[b,c,y,x] = (1/C) sum_d residual[b,d,y,x] * second[b,c,(y,x)+dilation*d]: the step direction of GOCor's local
    optimiser (GOCor, section 3.4).

    Args:
        residual: (B,(2r+1)^2,H,W).
        second: (B,C,H,W) features.
        radius: as in `correlation`.
        dilation: as in `correlation`.

    Returns:
        (B,C,H,W).

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("residual", residual)
    check_maps("second", second)
    check_window(radius, dilation, 1)
    batch, channels, height, width = second.shape
    check_shape("residual", residual, (batch, (2 * radius + 1) ** 2, height, width), "second", second)
    result: Tensor = GATHER(residual, second, radius, dilation, 1.0 / channels)
    return result
