"""`channel_doubling` on the CPU (kernels/channel_doubling.cpp)."""

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.native_call import reads, writes
from flowzoo.operators.precision import autocast_type

_LEAST_CHANNELS = 16
"""Below this a pixel's channels are not worth to be brought beside each other."""
_TYPES = None, torch.float32, torch.bfloat16
"""Autocast's; None without it."""


def channel_doubling(maps: Tensor, weight: Tensor) -> Tensor | None:
    """See definition.channel_doubling; None where gradients are wanted, of few channels, and without a kernel."""
    if not native_call.suits(maps, weight) or not type(maps) is type(weight.data) is Tensor:
        return None
    wanted = autocast_type(maps)
    if torch.is_grad_enabled() or {maps.dtype, weight.dtype} != {torch.float32} or wanted not in _TYPES:
        return None
    batch, channels, height, width = maps.shape
    if channels < _LEAST_CHANNELS:
        return None
    half = wanted == torch.bfloat16
    kind = torch.bfloat16 if half else torch.float32
    result = writes(batch, channels, 2 * height, 2 * width, layout=torch.channels_last, dtype=kind)
    memory = reads("maps", maps, maps.shape), reads("weight", weight, (channels, 1, 4, 4)), result
    threads = native_call.threads_for(32 * maps.numel())
    done = native_call.run("channel_doubling", *memory, batch, channels, height, width, int(half), threads=threads)
    return result.tensor if done else None
