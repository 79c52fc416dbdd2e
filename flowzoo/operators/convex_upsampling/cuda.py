"""Convex upsampling as CUDA launches (kernels/convex_upsampling.cu), or portable where no kernel fits."""

import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.convex_upsampling import definition
from flowzoo.operators.launch import STORAGE, Argument, Launch, numbers

_THREADS = 256


def _suits(logits: Tensor, *flows: Tensor) -> bool:
    return logits.dtype in STORAGE and logits.numel() > 0 and all(flow.dtype == torch.float32 for flow in flows)


def convex_upsampling(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    """See definition.convex_upsampling."""
    if not _suits(logits, flow):
        return definition.convex_upsampling(flow, logits, factor)
    flow, logits = flow.contiguous(), logits.contiguous()
    batch, _, height, width = flow.shape
    fine = flow.new_empty(batch, 2, height * factor, width * factor)
    sizes = numbers(batch, height, width, factor)
    _start("convex_upsampling", fine.numel() // 2, STORAGE[logits.dtype], logits, flow, fine, *sizes)
    return fine


def convex_upsampling_backward(gradient: Tensor, flow: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """See definition.convex_upsampling_backward."""
    if not _suits(logits, gradient, flow):
        return definition.convex_upsampling_backward(gradient, flow, logits, factor)
    gradient, flow, logits = gradient.contiguous(), flow.contiguous(), logits.contiguous()
    batch, _, height, width = flow.shape
    to_logits, to_flow = torch.empty_like(logits), torch.empty_like(flow)
    spread = flow.new_empty(batch, 18, height, width)
    storage, sizes = STORAGE[logits.dtype], numbers(batch, height, width)
    memory = gradient, logits, flow, to_logits, spread
    count = batch * height * width
    _start("convex_upsampling_backward", count, storage, *memory, *sizes, *numbers(factor))
    _start("gather_owed", 2 * count, storage, spread, to_flow, *sizes)
    return to_flow, to_logits.contiguous(memory_format=torch.channels_last)


def _start(kernel: str, count: int, storage: int, *arguments: Argument) -> None:
    """A thread for each of `count` things."""
    defines = (("STORAGE", storage),)
    threads = _THREADS // 2 if kernel == "convex_upsampling_backward" else _THREADS
    launch.start(Launch("convex_upsampling.cu", defines, kernel, -(-count // threads), (threads, 1), arguments))
