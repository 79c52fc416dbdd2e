"""`convex_upsampling` and its gradients on the CPU (kernels/convex_upsampling.cpp), or portable."""

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.convex_upsampling import definition
from flowzoo.operators.native_call import Memory, reads, suits, writes

_LOGITS = torch.float32, torch.bfloat16
"""Storage types of the logits that the kernel reads as they are."""


def _suits(logits: Tensor, *flows: Tensor) -> bool:
    return logits.dtype in _LOGITS and all(flow.dtype == torch.float32 for flow in flows) and suits(logits, *flows)


def _logits(flow: Tensor, logits: Tensor, factor: int) -> Memory:
    batch, _, height, width = flow.shape
    shape = batch, 9 * factor * factor, height, width
    return reads("logits", logits, shape, layout=torch.channels_last, dtype=logits.dtype)


def convex_upsampling(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    """See definition.convex_upsampling."""
    if _suits(logits, flow):
        batch, _, height, width = flow.shape
        fine = writes(batch, 2, height * factor, width * factor)
        memory = _logits(flow, logits, factor), reads("flow", flow, (batch, 2, height, width)), fine
        numbers = logits.dtype == torch.bfloat16, batch, height, width, factor
        threads = native_call.threads_for(20 * logits.numel())
        if native_call.run("convex_upsampling", *memory, *numbers, threads=threads):
            return fine.tensor
    return definition.convex_upsampling(flow, logits, factor)


def convex_upsampling_backward(gradient: Tensor, flow: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """See definition.convex_upsampling_backward."""
    if _suits(logits, gradient, flow):
        batch, _, height, width = flow.shape
        incoming = reads("gradient", gradient, (batch, 2, height * factor, width * factor))
        inputs = _logits(flow, logits, factor), reads("flow", flow, (batch, 2, height, width))
        to_logits = writes(*logits.shape, layout=torch.channels_last, dtype=logits.dtype)
        to_flow, spread = writes(*flow.shape), writes(batch, height, width, 18)
        memory = incoming, *inputs, to_logits, to_flow, spread
        numbers = logits.dtype == torch.bfloat16, batch, height, width, factor
        threads = native_call.threads_for(40 * logits.numel())
        if native_call.run("convex_upsampling_backward", *memory, *numbers, threads=threads):
            return to_flow.tensor, to_logits.tensor
    return definition.convex_upsampling_backward(gradient, flow, logits, factor)
