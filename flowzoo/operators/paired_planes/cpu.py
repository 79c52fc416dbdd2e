"""`paired_planes` on the CPU (kernels/paired_planes.cpp), or portable where there is no kernel."""

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.native_call import reads, suits, writes
from flowzoo.operators.paired_planes import definition

_FLOPS = 10
"""Of a number, about: what moving it costs."""
_LAST = torch.channels_last


def paired_planes(maps: Tensor) -> Tensor:
    """See definition.paired_planes."""
    if suits(maps) and maps.dim() == 4 and maps.shape[0] % 2 == 0 and maps.is_contiguous(memory_format=_LAST):
        batch, channels, height, width = maps.shape[0] // 2, *maps.shape[1:]
        result = writes(batch, channels, 2, height, width)
        memory = reads("maps", maps, maps.shape, layout=_LAST), result
        threads = native_call.threads_for(_FLOPS * maps.numel())
        if native_call.run("paired_planes", *memory, batch, channels, height * width, threads=threads):
            return result.in_(maps.dtype)
    return definition.paired_planes(maps)
