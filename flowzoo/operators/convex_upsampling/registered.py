"""The registered operators `convex_upsampling` and `convex_upsampling_backward`."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.convex_upsampling import cpu, cuda, definition
from flowzoo.operators.registration import register


def _fake(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    batch, _, height, width = flow.shape
    return flow.new_empty(batch, 2, height * factor, width * factor)


def _fake_backward(gradient: Tensor, flow: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    return flow.new_empty(flow.shape), torch.empty_like(logits, memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.factor = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    to_flow, to_logits = CONVEX_UPSAMPLING_BACKWARD(gradient, *ctx.saved_tensors, ctx.factor)
    return to_flow, to_logits, None


def _double_backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    """Through the portable form: nobody's inner loop."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [tensor if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        gradient, flow, logits = inputs
        outputs = definition.convex_upsampling_backward(gradient, flow, logits, ctx.factor)
        return *torch.autograd.grad(outputs, inputs, gradients, create_graph=again), None


# Without autocast: the kernel reads bfloat16 logits as they are.
CONVEX_UPSAMPLING = register(
    "convex_upsampling",
    "(Tensor flow, Tensor logits, int factor) -> Tensor",
    definition.convex_upsampling,
    _fake,
    cpu=cpu.convex_upsampling,
    cuda=cuda.convex_upsampling,
    save=_save,
    backward=_backward,
    autocast=False,
)
CONVEX_UPSAMPLING_BACKWARD = register(
    "convex_upsampling_backward",
    "(Tensor gradient, Tensor flow, Tensor logits, int factor) -> (Tensor, Tensor)",
    definition.convex_upsampling_backward,
    _fake_backward,
    cpu=cpu.convex_upsampling_backward,
    cuda=cuda.convex_upsampling_backward,
    save=_save,
    backward=_double_backward,
    autocast=False,
)
