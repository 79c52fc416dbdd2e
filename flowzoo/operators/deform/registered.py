"""The registered operators `deform` and `deform_backward`."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.deform import cpu, cuda, definition
from flowzoo.operators.registration import register

_GRID = "int tap_columns, int[] stride, int[] padding, int[] step, bool legacy"


def _fake(features: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    return features.new_empty(features.shape[0], weight.shape[0], *offset.shape[2:])


def _fake_backward(
    gradient: Tensor, features: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *grid: Any
) -> tuple[Tensor, ...]:
    likes = (features, offset, weight) if mask is None else (features, offset, weight, mask)
    results = [torch.empty_like(like, memory_format=torch.contiguous_format) for like in likes]
    return *results, *([features.new_empty(0)] if mask is None else [])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, offset, weight, _, mask, *ctx.grid = inputs
    ctx.save_for_backward(features, offset, weight, mask)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    wanted, mask = ctx.needs_input_grad[:5], ctx.saved_tensors[3]
    found: tuple[Tensor | None, ...] = (None,) * 4
    if any(wanted[:3]) or wanted[4]:
        found = DEFORM_BACKWARD(gradient, *ctx.saved_tensors, *ctx.grid)
    to_bias = gradient.sum(dim=(0, 2, 3)) if wanted[3] else None
    tensors = *found[:3], to_bias, None if mask is None else found[3]
    return *(part if needed else None for part, needed in zip(tensors, wanted, strict=True)), *[None] * len(ctx.grid)


def _save_for_second(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.grid = inputs[5:]
    ctx.save_for_backward(*inputs[:5])


def _second_backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    """Through the definition: nobody's inner loop."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [
            tensor if tensor is None or tensor.requires_grad else tensor.detach().requires_grad_()
            for tensor in ctx.saved_tensors
        ]
        incoming, features, offset, weight, mask = inputs
        value = definition.deform(features, offset, weight, None, mask, *ctx.grid)
        given = [tensor for tensor in inputs[1:] if tensor is not None]
        outputs = torch.autograd.grad(value, given, incoming, create_graph=True)
        every = [incoming, *given]
        found = iter(
            torch.autograd.grad(outputs, every, gradients[: len(given)], create_graph=again, allow_unused=True)
        )
    return *(None if tensor is None else next(found) for tensor in inputs), *[None] * len(ctx.grid)


DEFORM = register(
    "deform",
    f"(Tensor features, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, {_GRID}) -> Tensor",
    definition.deform,
    _fake,
    cpu=cpu.deform,
    cuda=cuda.deform,
    save=_save,
    backward=_backward,
)
DEFORM_BACKWARD = register(
    "deform_backward",
    f"(Tensor gradient, Tensor features, Tensor offset, Tensor weight, Tensor? mask, {_GRID})"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    definition.deform_backward,
    _fake_backward,
    cpu=cpu.deform_backward,
    cuda=cuda.deform_backward,
    save=_save_for_second,
    backward=_second_backward,
)
