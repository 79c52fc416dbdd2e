"""Warping as an autograd function: its derivatives, by the kernels."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.warp import cpu, definition


class Warp(torch.autograd.Function):
    """`definition.warp` of what `cpu.takes`."""

    @staticmethod
    def forward(features: Tensor, flow: Tensor) -> Tensor:
        found = cpu.warp(features, flow)
        return definition.warp(features, flow) if found is None else found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        inputs: tuple[Tensor, Tensor] = ctx.saved_tensors
        wanted: tuple[bool, bool] = ctx.needs_input_grad
        again = torch.is_grad_enabled()  # what is differentiated again must be made of PyTorch's operators
        found = None if again else cpu.gradients(*inputs, gradient, wanted)
        if found is not None:
            return found
        if not again:
            features, flow = (each.detach().requires_grad_() for each in inputs)
            inputs = features, flow
        with torch.enable_grad():
            result = definition.warp(*inputs)
        sought = [each for each, is_wanted in zip(inputs, wanted, strict=True) if is_wanted]
        gradients = list(torch.autograd.grad(result, sought, gradient, create_graph=again))
        return gradients.pop(0) if wanted[0] else None, gradients.pop() if wanted[1] else None
