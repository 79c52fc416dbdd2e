"""Forward warping: bilinear splatting to p + flow."""

from torch import Tensor

from flowzoo.operators.checks import check_flow, check_maps
from flowzoo.operators.splat.registered import SPLAT


def splat(values: Tensor, flow: Tensor) -> Tensor:
    """Every pixel's values added to the four neighbours of p + flow(p) with bilinear weights: the adjoint of `warp`.

    Values that land outside are dropped, as are those with NaN or infinite flow. Splatting a map of ones gives the
    density, by which a caller may divide.

    Args:
        values: (B,C,H,W).
        flow: (B,2,H,W), x then y, pixels of this grid.

    Returns:
        (B,C,H,W) sums, of the values' dtype. Differentiable any number of times in both arguments.

    Raises:
        InputError: shapes or devices that do not fit.
    """
    check_maps("values", values)
    check_flow(flow, "values", values)
    result: Tensor = SPLAT(values, flow)
    return result
