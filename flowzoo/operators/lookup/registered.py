"""The registered operator `lookup`, on demand, and its derivatives."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.lookup import cpu, cuda, definition
from flowzoo.operators.registration import register

_INPUTS = "Tensor first, Tensor table, Tensor coordinates, int height, int width, int radius, int levels"


def _fake(first: Tensor, table: Tensor, coordinates: Tensor, *numbers: int) -> Tensor:
    _, _, radius, levels = numbers
    batch, _, *grid = first.shape
    shape = (batch, levels * (2 * radius + 1) ** 2, *grid)
    return torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=torch.channels_last)


def _fake_backward(
    gradient: Tensor, first: Tensor, table: Tensor, coordinates: Tensor, *numbers: Any
) -> tuple[Tensor, Tensor, Tensor]:
    to_first = torch.empty_like(first, memory_format=torch.channels_last)
    others = [torch.empty_like(like, memory_format=torch.contiguous_format) for like in (table, coordinates)]
    return to_first, others[0], others[1]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    ctx.numbers = inputs[len(tensors) :]
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:3]
    found = LOOKUP_BACKWARD(gradient, *ctx.saved_tensors, *ctx.numbers, wanted[2])
    return *(part if needed else None for part, needed in zip(found, wanted, strict=True)), None, None, None, None


def _double_backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    """Through the definition: nobody's inner loop."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [tensor if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        gradient, *arguments = inputs
        *numbers, with_coordinates = ctx.numbers
        wanted = arguments if with_coordinates else arguments[:2]
        value = definition.lookup(*arguments, *numbers)
        outputs = torch.autograd.grad(value, wanted, gradient, create_graph=True)
        result = torch.autograd.grad(outputs, inputs, gradients[: len(wanted)], create_graph=again, allow_unused=True)
    return *result, None, None, None, None, None


LOOKUP = register(
    "lookup",
    f"({_INPUTS}) -> Tensor",
    definition.lookup,
    _fake,
    cpu=cpu.lookup,
    cuda=cuda.lookup,
    save=_save,
    backward=_backward,
)
LOOKUP_BACKWARD = register(
    "lookup_backward",
    f"(Tensor gradient, {_INPUTS}, bool with_coordinates) -> (Tensor, Tensor, Tensor)",
    definition.lookup_backward,
    _fake_backward,
    cpu=cpu.lookup_backward,
    cuda=cuda.lookup_backward,
    save=_save,
    backward=_double_backward,
)
