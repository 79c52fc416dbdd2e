"""The registered operators `sampled_volume` and `sampled_volume_backward` (see definition)."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.registration import register
from flowzoo.operators.sampled_volume import cpu, cuda, definition

_TAIL = "Tensor first, Tensor second, Tensor flow, int radius, int dilation, int stride, bool absolute)"


def _fake_volume(first: Tensor, second: Tensor, flow: Tensor, *numbers: int) -> Tensor:
    radius = numbers[0]
    batch, _, height, width = first.shape
    return first.new_empty(batch, (2 * radius + 1) ** 2, height, width)


def _fake_backward(gradient: Tensor, first: Tensor, second: Tensor, flow: Tensor, *numbers: int) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(maps, memory_format=torch.contiguous_format) for maps in (first, second, flow))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.numbers = inputs[3:]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    gradients = SAMPLED_VOLUME_BACKWARD(gradient, *ctx.saved_tensors, *ctx.numbers)
    return (*gradients, None, None, None, None)


def _save_for_second(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.numbers = inputs[4:]


def _second_backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    # Rare (only a loss on gradients asks for it), so autograd through the portable form is good enough.
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        volume = definition.sampled_volume(*inputs[1:], *ctx.numbers)
        first_order = torch.autograd.grad(volume, inputs[1:], inputs[0], create_graph=True)
        second_order = torch.autograd.grad(first_order, inputs, gradients, allow_unused=True)
    return (*second_order, None, None, None, None)


SAMPLED_VOLUME = register(
    "sampled_volume",
    f"({_TAIL} -> Tensor",
    definition.sampled_volume,
    _fake_volume,
    cpu=cpu.sampled_volume,
    cuda=cuda.sampled_volume,
    save=_save,
    backward=_backward,
    exported=definition.sampled_volume_whole,
)
SAMPLED_VOLUME_BACKWARD = register(
    "sampled_volume_backward",
    f"(Tensor gradient, {_TAIL} -> (Tensor, Tensor, Tensor)",
    definition.sampled_volume_backward,
    _fake_backward,
    cpu=cpu.sampled_volume_backward,
    cuda=cuda.sampled_volume_backward,
    save=_save_for_second,
    backward=_second_backward,
)
