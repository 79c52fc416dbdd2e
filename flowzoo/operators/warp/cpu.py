"""`warp` and its gradients on the CPU (kernels/warp.cpp, kernels/warp_gradients.cpp)."""

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.native_call import numbers_a_pixel, reads, reads_pixels, suits, writes

_LEAST_CHANNELS = 16
"""Below this vectors would be mostly empty."""


def takes(features: Tensor, flow: Tensor) -> bool:
    """Whether the kernels read these: not few channels, and no bfloat16 that is not channels last."""
    if not suits(features, flow) or not type(features) is type(flow) is Tensor:
        return False
    if features.shape[1] < _LEAST_CHANNELS or features.dtype == torch.float16:
        return False
    return features.dtype != torch.bfloat16 or numbers_a_pixel(features, features.dtype) > 0


def warp(features: Tensor, flow: Tensor) -> Tensor | None:
    """See definition.warp: the same but for rounding, in the features' memory layout. Not differentiable.

    None without a kernel for these.
    """
    if not takes(features, flow):
        return None
    batch, channels, height, width = features.shape
    seen, pixel, layout = _reads_maps("features", features, features)
    result = writes(batch, channels, height, width, layout=layout, dtype=features.dtype)
    memory = seen, reads("flow", flow, (batch, 2, height, width)), result
    half = int(features.dtype == torch.bfloat16)
    threads = native_call.threads_for(16 * features.numel())
    done = native_call.run("warp", *memory, batch, channels, height, width, pixel, half, threads=threads)
    return result.tensor if done else None


def gradients(
    features: Tensor, flow: Tensor, gradient: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None] | None:
    """To features (B,C,H,W) and flow (B,2,H,W), in their types and where `wanted`, from that to the result (B,C,H,W).

    None without a kernel. Where flow leads to a whole coordinate, its gradient is the slope towards the next larger.
    """
    if not takes(features, flow):
        return None
    batch, channels, height, width = features.shape
    seen, pixel, layout = _reads_maps("features", features, features)
    given, step, _ = _reads_maps("gradient", gradient, features)
    to_features = writes(*features.shape, layout=layout) if wanted[0] else None
    if to_features is not None:
        to_features.tensor.zero_()  # the kernel adds to it
    to_flow = writes(batch, 2, height, width) if wanted[1] else None
    memory = seen, reads("flow", flow, (batch, 2, height, width)), given, to_features, to_flow
    sizes = batch, channels, height, width, pixel, step, int(features.dtype == torch.bfloat16)
    threads = native_call.threads_for(32 * features.numel())
    if not native_call.run("warp_gradients", *memory, *sizes, threads=threads):
        return None
    return (
        None if to_features is None else to_features.in_(features.dtype),
        None if to_flow is None else to_flow.in_(flow.dtype),
    )


def _reads_maps(name: str, maps: Tensor, like: Tensor) -> tuple[native_call.Memory, int, torch.memory_format]:
    """Maps in the type and layout of others, the numbers from pixel to pixel (0: planes), and the layout."""
    if numbers_a_pixel(like, like.dtype):
        return *reads_pixels(name, maps, like.shape, like.dtype), torch.channels_last
    return reads(name, maps, like.shape), 0, torch.contiguous_format
