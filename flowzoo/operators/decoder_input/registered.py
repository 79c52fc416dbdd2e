"""The registered operator `decoder_input`."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.decoder_input import cpu, definition
from flowzoo.operators.registration import register


def _fake(cost: Tensor, features: Tensor, others: Tensor, slope: float, gain: float) -> Tensor:
    joined = torch.cat([cost, features, others], dim=1)
    return torch.empty_like(joined, memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    cost, features, others, ctx.slope, ctx.gain = inputs
    ctx.save_for_backward(cost)
    ctx.channels = [part.shape[1] for part in (cost, features, others)]
    ctx.dtypes = [part.dtype for part in (cost, features, others)]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (cost,) = ctx.saved_tensors
    to_cost, *beside = gradient.split(ctx.channels, dim=1)
    to_cost = torch.where(cost > 0, to_cost, to_cost * ctx.slope) * ctx.gain
    found = [part.to(dtype) for part, dtype in zip((to_cost, *beside), ctx.dtypes, strict=True)]
    return *found, None, None


DECODER_INPUT = register(
    "decoder_input",
    "(Tensor cost, Tensor features, Tensor others, float slope, float gain) -> Tensor",
    definition.decoder_input,
    _fake,
    cpu=cpu.decoder_input,
    save=_save,
    backward=_backward,
)
