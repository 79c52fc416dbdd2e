"""`decoder_input` on the CPU (kernels/decoder_input.cpp), or portable where there is no kernel."""

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.decoder_input import definition
from flowzoo.operators.native_call import numbers_a_pixel, reads, reads_pixels, suits, writes

_FLOPS = 10
"""Of a number, about: what moving it costs."""


def decoder_input(cost: Tensor, features: Tensor, others: Tensor, slope: float, gain: float) -> Tensor:
    """See definition.decoder_input."""
    if suits(cost, features, others):
        batch, costs, height, width = cost.shape
        beside = features.shape[1], others.shape[1]
        result = writes(batch, costs + sum(beside), height, width, layout=torch.channels_last)
        pixel = numbers_a_pixel(features)
        shape = batch, beside[0], height, width
        seen = reads_pixels("features", features, shape)[0] if pixel else reads("features", features, shape)
        memory = (
            reads("cost", cost, cost.shape),
            seen,
            reads("others", others, (batch, beside[1], height, width)),
            result,
        )
        numbers = batch, costs, *beside, height * width, pixel, float(slope), float(gain)
        threads = native_call.threads_for(_FLOPS * result.tensor.numel())
        if native_call.run("decoder_input", *memory, *numbers, threads=threads):
            return result.in_(torch.promote_types(cost.dtype, torch.promote_types(features.dtype, others.dtype)))
    return definition.decoder_input(cost, features, others, slope, gain)
