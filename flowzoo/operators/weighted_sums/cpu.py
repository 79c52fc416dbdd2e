"""`weighted_sums` on the CPU (kernels/weighted_sums.cpp)."""

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.native_call import reads, suits, writes


def weighted_sums(maps: Tensor, axis: int, index: Tensor, weight: Tensor) -> Tensor | None:
    """See definition.weighted_sums; None where gradients are wanted or there is no kernel."""
    if not suits(maps, weight) or not index.is_cpu or maps.dtype != torch.float32:
        return None
    if torch.is_grad_enabled() and (maps.requires_grad or weight.requires_grad):
        return None
    batch, channels, height, width = maps.shape
    least, most = torch.aminmax(index)
    if least < 0 or most >= maps.shape[axis]:
        return None  # PyTorch says what is wrong
    taps, outputs = index.shape
    result = writes(batch, channels, *((outputs, width) if axis == 2 else (height, outputs)))
    memory = (
        reads("maps", maps, maps.shape),
        reads("index", index, index.shape, dtype=torch.int32),
        reads("weight", weight, index.shape),
        result,
    )
    threads = native_call.threads_for(2 * taps * result.tensor.numel())
    sizes = batch * channels, height, width, taps, outputs, int(axis == 2)
    return result.tensor if native_call.run("weighted_sums", *memory, *sizes, threads=threads) else None
