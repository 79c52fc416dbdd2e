"""The registered operator `splat`; its derivatives are made of differentiable steps, so all orders exist."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.precision import working_dtype
from flowzoo.operators.registration import register
from flowzoo.operators.splat import cuda, definition
from flowzoo.operators.splat.definition import corners


def _fake(values: Tensor, flow: Tensor) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    values, flow = ctx.saved_tensors
    dtype = working_dtype(values)
    channels = values.shape[1]
    source, incoming = values.to(dtype).flatten(2), gradient.to(dtype).flatten(2)
    to_values = torch.zeros_like(source)
    to_x = to_y = source.new_zeros(source.shape[0], 1, source.shape[2])
    signs = ((-1, -1), (1, -1), (-1, 1), (1, 1))  # of the corners' shares along x and y
    for (index, inside, across, along), (x, y) in zip(corners(flow.to(dtype)), signs, strict=True):
        taken = torch.where(inside, incoming.gather(2, index.expand(-1, channels, -1)), 0.0)
        to_values = to_values + taken * (across * along)
        product = (taken * source).sum(dim=1, keepdim=True)
        to_x = to_x + product * along * x
        to_y = to_y + product * across * y
    alive = flow.abs() <= flow.shape[2] + flow.shape[3] + 2
    to_flow = torch.cat([to_x, to_y], dim=1).view(flow.shape) * alive
    return to_values.view(values.shape).to(values.dtype), to_flow.to(flow.dtype)


SPLAT = register(
    "splat",
    "(Tensor values, Tensor flow) -> Tensor",
    definition.splat,
    _fake,
    cuda=cuda.splat,
    save=_save,
    backward=_backward,
)
