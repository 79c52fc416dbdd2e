"""The registered operators `correlate`, `gather` and `scatter` (see definition) and their derivatives.

The derivatives of each are calls of the other two, so gradients of any order exist.
"""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.correlation import cpu, cuda, definition
from flowzoo.operators.registration import register

_TAIL = "int radius, int dilation, float scale) -> Tensor"


def _fake_correlate(first: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    batch, _, height, width = first.shape
    return first.new_empty(batch, (2 * radius + 1) ** 2, height, width)


def _fake_like_maps(volume: Tensor, maps: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    return torch.empty_like(maps, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.numbers = inputs[2:]


def _correlate_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    first, second = ctx.saved_tensors
    to_first = GATHER(gradient, second, *ctx.numbers) if ctx.needs_input_grad[0] else None
    to_second = SCATTER(gradient, first, *ctx.numbers) if ctx.needs_input_grad[1] else None
    return to_first, to_second, None, None, None


def _gather_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    volume, second = ctx.saved_tensors
    to_volume = CORRELATE(gradient, second, *ctx.numbers) if ctx.needs_input_grad[0] else None
    to_second = SCATTER(volume, gradient, *ctx.numbers) if ctx.needs_input_grad[1] else None
    return to_volume, to_second, None, None, None


def _scatter_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    volume, first = ctx.saved_tensors
    to_volume = CORRELATE(first, gradient, *ctx.numbers) if ctx.needs_input_grad[0] else None
    to_first = GATHER(volume, gradient, *ctx.numbers) if ctx.needs_input_grad[1] else None
    return to_volume, to_first, None, None, None


CORRELATE = register(
    "correlate",
    f"(Tensor first, Tensor second, {_TAIL}",
    definition.correlate,
    _fake_correlate,
    cpu=cpu.correlate,
    cuda=cuda.correlate,
    save=_save,
    backward=_correlate_backward,
    exported=definition.correlate_unfolded,
)
GATHER = register(
    "gather",
    f"(Tensor volume, Tensor second, {_TAIL}",
    definition.gather,
    _fake_like_maps,
    cpu=cpu.gather,
    cuda=cuda.gather,
    save=_save,
    backward=_gather_backward,
    exported=definition.gather_unfolded,
)
SCATTER = register(
    "scatter",
    f"(Tensor volume, Tensor first, {_TAIL}",
    definition.scatter,
    _fake_like_maps,
    cpu=cpu.scatter,
    cuda=cuda.scatter,
    save=_save,
    backward=_scatter_backward,
)
