"""The convolution as an autograd function: its derivatives, by the kernels where they suit."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.convolution import cpu, cpu_few_outputs, definition


class Convolution(torch.autograd.Function):
    """`definition.convolve` on the CPU of channels-last maps, float32 or, with weights in float32, bfloat16."""

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
        if cpu.suits(maps, weight, stride, padding, dilation):
            result = cpu.convolution(maps, weight, bias, dilation, slope)
        elif (
            slope == 1 and maps.dtype == weight.dtype and cpu_few_outputs.wins(maps, weight, stride, padding, dilation)
        ):
            result = cpu_few_outputs.convolution(maps, weight, bias, padding)
        if result is None:
            weight, bias = weight.to(maps.dtype), None if bias is None else bias.to(maps.dtype)
            result = definition.convolve(maps, weight, bias, stride, padding, dilation, slope)
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
            fast = cpu.suits(maps, weight, stride, padding, dilation)
            if wanted[0] and fast:
                to_maps = cpu.maps_gradient(gradient, weight, dilation)
                wanted[0] = to_maps is None
            if wanted[1]:
                to_weight = cpu.weight_gradient(maps, gradient, dilation) if fast else None
                if to_weight is None:
                    to_weight = cpu.any_weight_gradient(maps, gradient, weight, stride, padding, dilation)
                wanted[1] = to_weight is None
        if wanted[2] and not wanted[1]:
            to_bias, wanted[2] = gradient.sum((0, 2, 3), dtype=weight.dtype), False
        if any(wanted):
            parts = torch.ops.aten.convolution_backward(
                gradient,
                maps,
                weight.to(maps.dtype),
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
            to_weight = to_weight if parts[1] is None else parts[1].to(weight.dtype)
            to_bias = to_bias if parts[2] is None else parts[2].to(weight.dtype)
        return to_maps, to_weight, to_bias, None, None, None, None
