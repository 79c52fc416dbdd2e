"""Sampled cost volumes: matching costs around p + flow(p), without warping the second map."""

from typing import Literal

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_flow, check_maps, check_same_shape, check_window
from flowzoo.operators.sampled_volume.registered import SAMPLED_VOLUME


def sampled_cost_volume(
    first: Tensor,
    second: Tensor,
    flow: Tensor,
    radius: int,
    dilation: int = 1,
    stride: int = 1,
    measure: Literal["correlation", "sad"] = "correlation",
) -> Tensor:
    """Cost of matching p in `first` with p + flow(p) + dilation*d in `second`, sampled bilinearly.

    Equation 2 ("correlation": mean over channels of the products, high = good) or 3 ("sad": mean of the absolute
    differences, low = good) of "Improving Optical Flow on a Pyramid Level". Neighbours outside the second map count
    as zero vectors, as does everything where the flow is NaN or infinite.

    Args:
        first: (B,C,H,W) features.
        second: the same shape.
        flow: (B,2,H,W), x then y, pixels of this grid.
        radius: largest displacement in steps, from 0 up; channels are dy-major as in `correlation`.
        dilation: pixels between neighbouring displacements.
        stride: keeps rows and columns 0, stride, 2*stride, ... of the output.
        measure: "correlation" or "sad".

    Returns:
        (B,(2r+1)^2,ceil(H/stride),ceil(W/stride)), differentiable in both features and in the flow.

    Raises:
        InputError: shapes, devices, numbers or a measure that do not fit.
    """
    check_maps("first", first)
    check_maps("second", second)
    check_same_shape("first", first, "second", second)
    check_flow(flow, "first", first)
    check_window(radius, dilation, stride)
    if measure not in ("correlation", "sad"):
        raise InputError(f"measure must be 'correlation' or 'sad', got {measure!r}")
    if stride > 1:
        first, flow = first[:, :, ::stride, ::stride], flow[:, :, ::stride, ::stride]
    volume: Tensor = SAMPLED_VOLUME(first, second, flow, radius, dilation, stride, measure == "sad")
    return volume
