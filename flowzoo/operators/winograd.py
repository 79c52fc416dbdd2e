"""3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3) on the CPU (kernels/winograd.cpp), in float32, channels last.

About half the time of a direct convolution where there are many channels; the results differ from it by rounding
(relative to the largest value, by some 1e-6 where a direct convolution is off by some 1e-7).
Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
"""

import ctypes
import math
from typing import Any

import torch
from torch import Tensor

from flowzoo.operators import native
from flowzoo.operators.cpu_correlation import threads_for

_LEAST_CHANNELS, _LEAST_WIDER = 32, 64
"""Of the maps with fewer and with more channels: below these the transforms cost what the products save."""
_LEAST_TILES = 30
"""Below this the transform of the weights does."""

_FORWARD: list[Any] = [*[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 9, ctypes.c_float, ctypes.c_int64]
_WEIGHTS: list[Any] = [*[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 9]


def suits(maps: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int) -> bool:
    """Whether this convolution can be done so, and gains by it."""
    if tuple(weight.shape[2:]) != (3, 3) or stride != 1 or padding != (dilation, dilation):
        return False
    if min(weight.shape[:2]) < _LEAST_CHANNELS or max(weight.shape[:2]) < _LEAST_WIDER:
        return False
    batch, _, height, width = maps.shape
    rows, columns = (math.ceil(side / (4 * dilation)) for side in (height, width))
    tiles = batch * dilation * dilation * rows * columns
    return tiles >= _LEAST_TILES and 16 * tiles <= 2 * batch * height * width


def convolution(maps: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, slope: float) -> Tensor | None:
    """Convolution, bias and leaky ReLU: (B,C,H,W), (D,C,3,3), (D) -> (B,D,H,W); None where memory ran out."""
    # Taps, input channels, output channels: a plain transposition where the weights are channels last.
    outputs, channels = weight.shape[:2]
    ordered = weight.permute(0, 2, 3, 1).reshape(outputs, 9 * channels).t().contiguous()
    return _convolve(maps, ordered, outputs, None if bias is None else bias.contiguous(), dilation, slope)


def maps_gradient(gradient: Tensor, weight: Tensor, dilation: int) -> Tensor | None:
    """From the gradient (B,D,H,W) of the convolution to that of its input (B,C,H,W)."""
    ordered = weight.flip(2, 3).permute(2, 3, 0, 1).contiguous()
    return _convolve(gradient, ordered, weight.shape[1], None, dilation, 1.0)


def _convolve(
    maps: Tensor, ordered: Tensor, outputs: int, bias: Tensor | None, dilation: int, slope: float
) -> Tensor | None:
    kernels = native.library()
    if kernels is None:
        return None
    batch, channels, height, width = maps.shape
    size = (batch, outputs, height, width)
    result = torch.empty(size, dtype=maps.dtype, memory_format=torch.channels_last)
    function = kernels.flowzoo_winograd
    function.argtypes = _FORWARD
    threads = threads_for(2 * maps.numel() * outputs)
    status = function(
        maps.data_ptr(),
        ordered.data_ptr(),
        None if bias is None else bias.data_ptr(),
        result.data_ptr(),
        *maps.shape,
        outputs,
        dilation,
        channels,
        outputs,
        channels * outputs,
        slope,
        threads,
    )
    return result if status == 0 else None


def weight_gradient(maps: Tensor, gradient: Tensor, dilation: int) -> Tensor | None:
    """From the input (B,C,H,W) and the gradient (B,D,H,W) of the convolution to that of its weights (D,C,3,3)."""
    kernels = native.library()
    if kernels is None:
        return None
    channels, outputs = maps.shape[1], gradient.shape[1]
    result = torch.empty((outputs, channels, 3, 3), dtype=maps.dtype, memory_format=torch.channels_last)
    function = kernels.flowzoo_winograd_weights
    function.argtypes = _WEIGHTS
    threads = threads_for(2 * maps.numel() * outputs)
    status = function(
        maps.data_ptr(),
        gradient.data_ptr(),
        result.data_ptr(),
        *maps.shape,
        outputs,
        dilation,
        channels,
        outputs,
        threads,
    )
    return result if status == 0 else None
