"""Convolutions to few outputs, such as flow, in float32 by a kernel (kernels/few_outputs.cpp)."""

import torch
from torch import Tensor

from flowzoo.operators import native, native_call
from flowzoo.operators.convolution.cpu import reads_weights
from flowzoo.operators.native_call import reads, reads_pixels, writes_pixels

_MOST_OUTPUTS = 8
"""With more of them, a direct convolution reads its input often enough."""
_LEAST_CHANNELS = 16

_LAST = torch.channels_last


def wins(maps: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int) -> bool:
    """Whether the kernel for few outputs is faster than PyTorch's convolution; independent of the batch."""
    outputs, channels, *window = weight.shape
    if (stride, dilation) != (1, 1) or outputs > _MOST_OUTPUTS or channels < _LEAST_CHANNELS or window == [1, 1]:
        return False
    sizes = zip(maps.shape[2:], padding, window, strict=True)
    if any(side + 2 * pad < taps for side, pad, taps in sizes):
        return False  # PyTorch says what is wrong
    return native_call.numbers_a_pixel(maps, maps.dtype) > 0 and native.library() is not None


def convolution(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    *,
    into: Tensor | None = None,
    add: bool = False,
) -> Tensor | None:
    """A convolution of stride 1 in float32: (B,C,H,W), (D,C,h,w), (D) -> (B,D,H',W'); None where memory ran out.

    Args:
        maps: float32 or bfloat16.
        weight, bias: float32.
        padding: see `convolve`.
        into: (B,D,H',W') channels last, or some channels of such a tensor, float32, that takes the result.
        add: whether what `into` holds is one more summand.
    """
    batch, channels, height, width = maps.shape
    outputs, _, tall, wide = weight.shape
    shape = batch, outputs, height + 2 * padding[0] - tall + 1, width + 2 * padding[1] - wide + 1
    if into is None:
        into = torch.empty(shape, dtype=torch.float32, memory_format=_LAST)
    half = maps.dtype == torch.bfloat16
    seen, pixel = reads_pixels("maps", maps, maps.shape, torch.bfloat16 if half else torch.float32)
    result, result_pixel = writes_pixels("result", into, shape)
    weights, tap_and_channel = reads_weights(weight)
    memory = seen, weights, None if bias is None else reads("bias", bias, (outputs,)), result
    sizes = batch, channels, height, width, outputs, *shape[2:], tall, wide, *padding, pixel, result_pixel
    threads = native_call.threads_for(2 * maps.numel() * outputs * tall * wide)
    done = native_call.run("few_outputs", *memory, *sizes, *tap_and_channel, int(half), int(add), threads=threads)
    return into if done else None
