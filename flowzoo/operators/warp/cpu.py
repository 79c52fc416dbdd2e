"""`warp` on the CPU (kernels/warp.cpp)."""

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.native_call import reads, reads_pixels, suits, writes

_LEAST_CHANNELS = 16
"""Below this vectors would be mostly empty."""


def warp(features: Tensor, flow: Tensor) -> Tensor | None:
    """See definition.warp: the same but for rounding, in the features' memory layout.

    None where gradients are wanted, for few channels, for bfloat16 that is not channels last, and without a kernel.
    """
    if not suits(features, flow) or not type(features) is type(flow) is Tensor:
        return None
    if torch.is_grad_enabled() and (features.requires_grad or flow.requires_grad):
        return None
    batch, channels, height, width = features.shape
    kind, half = features.dtype, features.dtype == torch.bfloat16
    pixel = native_call.numbers_a_pixel(features, kind)
    if channels < _LEAST_CHANNELS or kind == torch.float16 or (half and not pixel):
        return None
    if pixel:
        seen, pixel = reads_pixels("features", features, features.shape, kind)
    else:
        seen = reads("features", features, features.shape)
    layout = torch.channels_last if pixel else torch.contiguous_format
    result = writes(batch, channels, height, width, layout=layout, dtype=kind)
    memory = seen, reads("flow", flow, (batch, 2, height, width)), result
    threads = native_call.threads_for(16 * features.numel())
    done = native_call.run("warp", *memory, batch, channels, height, width, pixel, int(half), threads=threads)
    return result.tensor if done else None
