"""`density_reading` on the CPU (kernels/density_reading.cpp), or portable where there is no kernel."""

import math

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.density_reading import definition
from flowzoo.operators.native_call import reads, suits, writes

_FLOPS = 30
"""Of a bin, about."""


def density_reading(logits: Tensor) -> tuple[Tensor, Tensor]:
    """See definition.density_reading."""
    if suits(logits) and logits.dim() == 4 and math.isqrt(logits.shape[1]) ** 2 == logits.shape[1] > 1:
        batch, bins, height, width = logits.shape
        # Whichever of the two layouts they come in: a bin's pixels or a pixel's bins beside each other.
        last = not logits.is_contiguous() and logits.is_contiguous(memory_format=torch.channels_last)
        layout, steps = (torch.channels_last, (1, bins)) if last else (torch.contiguous_format, (height * width, 1))
        flow, confidence = writes(batch, 2, height, width), writes(batch, 1, height, width)
        memory = reads("logits", logits, logits.shape, layout=layout), flow, confidence
        threads = native_call.threads_for(_FLOPS * logits.numel())
        numbers = batch, math.isqrt(bins), height * width, *steps
        if native_call.run("density_reading", *memory, *numbers, threads=threads):
            return flow.in_(logits.dtype), confidence.in_(logits.dtype)
    return definition.density_reading(logits)
