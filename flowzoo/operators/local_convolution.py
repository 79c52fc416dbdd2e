"""Local convolution with one filter a pixel: LiteFlowNet's flow regularisation (f-lcon)."""

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_maps, check_shape, check_whole
from flowzoo.operators.correlation.registered import GATHER


def local_convolution(values: Tensor, weights: Tensor, window: int) -> Tensor:
    """Filter every pixel's neighbourhood with that pixel's own weights (LiteFlowNet, section 3.3).

    out[b,c,y,x] = sum_k weights[b,k,y,x] * values[b, c, y + k//window - window//2, x + k%window - window//2], zero
    outside. All channels share the weights. This is correlation's transpose without the mean.

    Args:
        values: (B,C,H,W).
        weights: (B,window^2,H,W), row by row through the window.
        window: odd side length, pixels.

    Returns:
        (B,C,H,W). Differentiable any number of times in both arguments.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("values", values)
    check_whole("window", window, 1)
    if window % 2 == 0:
        raise InputError(f"window must be odd and positive, got {window}")
    batch, _, height, width = values.shape
    check_shape("weights", weights, (batch, window * window, height, width), "values", values)
    result: Tensor = GATHER(weights, values, window // 2, 1, 1.0)
    return result
