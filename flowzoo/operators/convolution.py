"""Convolution with leaky ReLU for training on a CPU, with its own kernels for maps in channels-last memory layout."""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators import native, winograd
from flowzoo.operators.cpu_correlation import threads_for

_LEAST_CHANNELS = 16
"""Below this the kernel's vectors would be mostly empty."""

_ARGUMENTS: list[Any] = [*[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 16]


def convolve(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    slope: float = 1.0,
) -> Tensor:
    """`torch.nn.functional.conv2d` with zero padding and one group, then a leaky ReLU: the same values and derivatives.

    While gradients are recorded on a CPU, in float32 and channels last, 3x3 convolutions of many channels are
    Winograd's (`flowzoo.operators.winograd`), and the gradient to the weights of the others comes from
    kernels/convolution_weights.cpp, which is two to three times as fast in that layout as oneDNN's. Everything else,
    and gradients that are themselves differentiated, is PyTorch's own.

    Args:
        maps: (B,C,H,W).
        weight: (D,C,h,w).
        bias: (D), or None.
        stride, dilation: pixels, of both axes.
        padding: zero rows above and below, zero columns left and right.
        slope: of the leaky ReLU, in (0,1]; 1 is none.
    """
    if _has_kernel(maps, weight, bias):
        result: Tensor = _Convolution.apply(maps, weight, bias, stride, padding, dilation, slope)  # type: ignore[no-untyped-call]
        return result
    return _activated(F.conv2d(maps, weight, bias, stride, padding, dilation), slope)


def _activated(maps: Tensor, slope: float) -> Tensor:
    return maps if slope == 1 else F.leaky_relu(maps, slope, inplace=True)


def _has_kernel(maps: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    if not (torch.is_grad_enabled() and weight.requires_grad) or torch.compiler.is_compiling():
        return False
    if maps.device.type != "cpu" or maps.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    if bias is not None and bias.dtype != torch.float32:
        return False
    if torch.is_autocast_enabled("cpu") or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    if maps.dim() != 4 or maps.shape[1] < _LEAST_CHANNELS or maps.shape[1] != weight.shape[1] or maps.numel() == 0:
        return False
    return maps.is_contiguous(memory_format=torch.channels_last) and native.library() is not None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        maps: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        padding: tuple[int, int],
        dilation: int,
        slope: float,
    ) -> Tensor:
        result = None
        if winograd.suits(maps, weight, stride, padding, dilation):
            result = winograd.convolution(maps, weight, bias, dilation, slope)
        if result is None:
            result = _activated(F.conv2d(maps, weight, bias, stride, padding, dilation), slope)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *ctx.numbers, ctx.slope = inputs[3:]
        # The sign of a leaky ReLU's output is that of its input: only the output is needed.
        ctx.save_for_backward(*inputs[:2], output if ctx.slope != 1 else None)
        ctx.outputs = None if inputs[2] is None else list(inputs[2].shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, result = ctx.saved_tensors
        stride, padding, dilation = ctx.numbers
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        if result is not None:
            gradient = torch.ops.aten.leaky_relu_backward(gradient, result, ctx.slope, True)
        wanted = list(ctx.needs_input_grad[:3])
        to_maps = to_weight = to_bias = None
        # A gradient that is differentiated again must be made of PyTorch's operators.
        if not torch.is_grad_enabled():
            fast = winograd.suits(maps, weight, stride, padding, dilation)
            if wanted[0] and fast:
                to_maps = winograd.maps_gradient(gradient, weight, dilation)
                wanted[0] = to_maps is None
            if wanted[1]:
                to_weight = winograd.weight_gradient(maps, gradient, dilation) if fast else None
                if to_weight is None:
                    to_weight = _weight_gradient(maps, gradient, weight, stride, padding, dilation)
                wanted[1] = to_weight is None
        if wanted[2] and not wanted[1]:
            to_bias, wanted[2] = gradient.sum((0, 2, 3)), False
        if any(wanted):
            parts = torch.ops.aten.convolution_backward(
                gradient,
                maps,
                weight,
                ctx.outputs,
                [stride, stride],
                list(padding),
                [dilation, dilation],
                False,
                [0, 0],
                1,
                wanted,
            )
            to_maps = to_maps if parts[0] is None else parts[0]
            to_weight = to_weight if parts[1] is None else parts[1]
            to_bias = to_bias if parts[2] is None else parts[2]
        return to_maps, to_weight, to_bias, None, None, None, None


def _weight_gradient(
    maps: Tensor, gradient: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int
) -> Tensor | None:
    """What the kernel gives, like `weight`; None where it ran out of memory."""
    kernels = native.library()
    if kernels is None:
        return None
    outputs, channels, window_height, window_width = weight.shape
    result = torch.empty_like(weight, memory_format=torch.channels_last)
    function = kernels.flowzoo_convolution_weights
    function.argtypes = _ARGUMENTS
    threads = threads_for(2 * gradient.numel() * channels * window_height * window_width)
    status = function(
        maps.data_ptr(),
        gradient.data_ptr(),
        result.data_ptr(),
        *maps.shape,
        *gradient.shape[1:],
        channels,
        outputs,
        window_height,
        window_width,
        stride,
        dilation,
        *padding,
        threads,
    )
    return result if status == 0 else None
