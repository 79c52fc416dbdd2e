"""Convolutions of maps with few channels, such as images, by a kernel (kernels/few_inputs.cpp)."""

import torch
from torch import Tensor

from flowzoo.operators import native, native_call
from flowzoo.operators.convolution import cpu
from flowzoo.operators.native_call import Memory, reads, writes

_MOST_CHANNELS = 4
"""With more of them, a direct convolution fills its vectors well enough."""
_LEAST_OUTPUTS = 16


def wins(maps: Tensor, weight: Tensor, padding: tuple[int, int], dilation: int, *, lowered: bool) -> bool:
    """Whether the kernel is faster than PyTorch's convolution, in bfloat16 if `lowered`; independent of the batch."""
    outputs, channels, *window = weight.shape
    if dilation != 1 or channels > _MOST_CHANNELS or outputs < _LEAST_OUTPUTS or window == [1, 1]:
        return False
    sizes = zip(maps.shape[2:], padding, window, strict=True)
    if maps.dtype != torch.float32 or any(side + 2 * pad < taps for side, pad, taps in sizes):
        return False  # PyTorch says what is wrong
    return cpu.multiplies_halves() if lowered else native.library() is not None


def convolution(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    slope: float,
    *,
    lowered: bool = False,
) -> Tensor | None:
    """Convolution, bias and leaky ReLU: (B,C,H,W), (D,C,h,w), (D) -> (B,D,H',W'); None where memory ran out.

    Args:
        maps: float32, in any layout.
        weight, bias: float32 or smaller.
        stride, padding, slope: see `convolve`.
        lowered: whether numbers and weights are rounded to bfloat16, and the result is of it, channels last; otherwise
            all is float32.
    """
    outputs, channels, tall, wide = weight.shape
    rows, columns = (
        (side + 2 * pad - taps) // stride + 1
        for side, pad, taps in zip(maps.shape[2:], padding, (tall, wide), strict=True)
    )
    kind = torch.bfloat16 if lowered else torch.float32
    result = writes(maps.shape[0], outputs, rows, columns, layout=torch.channels_last, dtype=kind)
    weights, tap_and_channel = cpu.reads_weights(weight)
    memory = Memory(maps), weights, None if bias is None else reads("bias", bias, (outputs,)), result
    sizes = *maps.shape, outputs, rows, columns, tall, wide, stride, *padding
    steps = *maps.stride(), *tap_and_channel
    threads = native_call.threads_for(2 * result.tensor.numel() * channels * tall * wide)
    done = native_call.run("few_inputs", *memory, *sizes, *steps, int(lowered), float(slope), threads=threads)
    return result.tensor if done else None
