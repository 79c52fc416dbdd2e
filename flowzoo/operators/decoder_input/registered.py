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
    # In the layout of the costs: PyTorch takes four times as long over two maps that lie differently.
    layout = torch.contiguous_format if cost.is_contiguous() else torch.channels_last
    to_cost = to_cost.contiguous(memory_format=layout)
    to_cost = torch.ops.aten.leaky_relu_backward(to_cost, cost, ctx.slope, False) * ctx.gain
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
