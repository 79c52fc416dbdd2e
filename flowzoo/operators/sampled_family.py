"""The registered operators `sampled_volume` and `sampled_volume_backward` (see portable_sampled)."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators import cpu_sampled as cpu
from flowzoo.operators import cuda_sampled as cuda
from flowzoo.operators import portable_sampled as portable
from flowzoo.operators.registration import LIBRARY, register

_TAIL = "Tensor first, Tensor second, Tensor flow, int radius, int dilation, int stride, bool absolute)"


def _fake_volume(
    first: Tensor, second: Tensor, flow: Tensor, radius: int, dilation: int, stride: int, absolute: bool
) -> Tensor:
    batch, _, height, width = first.shape
    return first.new_empty(batch, (2 * radius + 1) ** 2, height, width)


def _fake_backward(
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    flow: Tensor,
    radius: int,
    dilation: int,
    stride: int,
    absolute: bool,
) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(maps, memory_format=torch.contiguous_format) for maps in (first, second, flow))


SAMPLED_VOLUME = register(
    "sampled_volume",
    f"({_TAIL} -> Tensor",
    portable.sampled_volume,
    _fake_volume,
    cpu.sampled_volume,
    cuda.sampled_volume,
)
SAMPLED_VOLUME_BACKWARD = register(
    "sampled_volume_backward",
    f"(Tensor gradient, {_TAIL} -> (Tensor, Tensor, Tensor)",
    portable.sampled_volume_backward,
    _fake_backward,
    cpu.sampled_volume_backward,
    cuda.sampled_volume_backward,
)


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
        volume = portable.sampled_volume(*inputs[1:], *ctx.numbers)
        first_order = torch.autograd.grad(volume, inputs[1:], inputs[0], create_graph=True)
        second_order = torch.autograd.grad(first_order, inputs, gradients, allow_unused=True)
    return (*second_order, None, None, None, None)


torch.library.register_autograd("flowzoo::sampled_volume", _backward, setup_context=_save, lib=LIBRARY)
torch.library.register_autograd(
    "flowzoo::sampled_volume_backward", _second_backward, setup_context=_save_for_second, lib=LIBRARY
)
