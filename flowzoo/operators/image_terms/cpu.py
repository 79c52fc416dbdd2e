"""Images as variational refinement looks at them, on the CPU (kernels/image_terms.cpp), or portable."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.image_terms import definition
from flowzoo.operators.native_call import reads, suits, writes

_FLOPS = 20
"""Of a pixel, about; most of the time goes into reading and writing it."""


def smoothed_greys(images: Tensor, weights: Sequence[float]) -> Tensor:
    """See definition.smoothed_greys."""
    if suits(images) and weights:
        batch, _, height, width = images.shape
        result = writes(batch, 1, height, width)
        shares = torch.tensor(weights, dtype=torch.float32)
        memory = reads("images", images, (batch, 3, height, width)), reads("weights", shares, (len(weights),)), result
        threads = native_call.threads_for(_FLOPS * images.numel())
        if native_call.run("smoothed_greys", *memory, batch, height, width, len(weights), threads=threads):
            return result.in_(images.dtype)
    return definition.smoothed_greys(images, weights)


def contrasts(colours: Tensor) -> Tensor:
    """See definition.contrasts."""
    if suits(colours):
        batch, _, height, width = colours.shape
        result = writes(batch, 2, height, width)
        memory = reads("colours", colours, (batch, 3, height, width)), result
        threads = native_call.threads_for(_FLOPS * colours.numel())
        if native_call.run("contrasts", *memory, batch, height, width, threads=threads):
            return result.in_(colours.dtype)
    return definition.contrasts(colours)


def area_means(maps: Tensor, height: int, width: int) -> Tensor:
    """See definition.area_means."""
    if suits(maps) and min(height, width) > 0:
        batch, channels, rows, columns = maps.shape
        result = writes(batch, channels, height, width)
        memory = reads("maps", maps, (batch, channels, rows, columns)), result
        threads = native_call.threads_for(_FLOPS // 2 * maps.numel())
        if native_call.run("area_means", *memory, batch * channels, rows, columns, height, width, threads=threads):
            return result.in_(maps.dtype)
    return definition.area_means(maps, height, width)
