"""Convolution with leaky ReLU, with its own CPU kernels for maps in channels-last memory layout."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flowzoo.operators import native, native_call
from flowzoo.operators.convolution import cpu, cpu_few_inputs, cpu_few_outputs, definition
from flowzoo.operators.convolution.registered import Convolution
from flowzoo.operators.precision import autocast_type, without_autocast
from flowzoo.operators.registration import is_traced

_LEAST_CHANNELS = 16
"""Below this the kernel's vectors would be mostly empty."""
_LAST = torch.channels_last


class _Numbers(NamedTuple):
    """Of a convolution; see `convolve`."""

    stride: int
    padding: tuple[int, int]
    dilation: int
    slope: float


def convolve(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    slope: float = 1.0,
) -> Tensor:
    """`torch.nn.functional.conv2d` with zero padding and one group, then a leaky ReLU: the same values and derivatives.

    On a CPU, in float32, 3x3 convolutions of many channels are Winograd's (kernels/winograd.cpp). While gradients are
    recorded that is so for maps in channels-last layout, and the gradient to the weights of the others comes from
    kernels/convolution_weights.cpp, which is two to three times as fast in that layout as oneDNN's. Without gradients,
    `cpu.wins` says where the kernel is faster than PyTorch; other layouts are copied into channels last, and the result
    is channels last. `cpu_few_inputs.wins` and `cpu_few_outputs.wins` say the same of few channels that come in
    (kernels/few_inputs.cpp) or go out (kernels/few_outputs.cpp), of which the last are used with gradients, too. Under
    autocast to bfloat16, `cpu.wins_lowered` says where Winograd's kernel is used, `cpu.suits_lowered` where it and its
    gradients are while gradients are recorded, with weights and their gradient in float32, and `cpu.tiles_win` where
    products of bfloat16 numbers are (kernels/tile_convolution.cpp). Everything else, and gradients that are themselves
    differentiated, is PyTorch's own, where it can with the leaky ReLU in the same pass.

    Args:
        maps: (B,C,H,W).
        weight: (D,C,h,w).
        bias: (D), or None.
        stride, dilation: pixels, of both axes.
        padding: zero rows above and below, zero columns left and right.
        slope: of the leaky ReLU, in [0,1]; 1 is none; 0, a ReLU, is for inference only.
    """
    found, numbers = None, _Numbers(stride, padding, dilation, slope)
    if _is_plain(maps, weight, bias):
        if not torch.is_grad_enabled():
            found = _plain(maps, weight, bias, numbers)
        elif weight.requires_grad and maps.is_contiguous(memory_format=_LAST) and _has_kernels(maps):
            result: Tensor = Convolution.apply(maps, weight, bias, *numbers)  # type: ignore[no-untyped-call]
            return result
    elif _is_lowered(maps, weight):
        found = _lowered(maps, weight, bias, numbers)
    elif _trains_lowered(maps, weight, numbers):
        half: Tensor = Convolution.apply(maps.bfloat16(), weight, bias, *numbers)  # type: ignore[no-untyped-call]
        return half
    elif dilation > 1 and _is_spoilt(maps, weight):
        with without_autocast(maps.device):
            exact = maps.float(), weight.float(), None if bias is None else bias.float()
            return convolve(*exact, stride, padding, dilation, slope).bfloat16()
    return definition.convolve(maps, weight, bias, stride, padding, dilation, slope) if found is None else found


def _plain(maps: Tensor, weight: Tensor, bias: Tensor | None, numbers: _Numbers) -> Tensor | None:
    """`convolve` in float32 without gradients; None where PyTorch's own is to do it."""
    stride, padding, dilation, slope = numbers
    if cpu.wins(maps, weight, stride, padding, dilation) and _has_kernels(maps):
        found = cpu.convolution(maps, weight, bias, dilation, slope)
    elif cpu_few_inputs.wins(maps, weight, padding, dilation, lowered=False):
        found = cpu_few_inputs.convolution(maps, weight, bias, stride, padding, slope)
    elif slope == 1 and cpu_few_outputs.wins(maps, weight, stride, padding, dilation):
        found = cpu_few_outputs.convolution(maps, weight, bias, padding)
    else:
        found = None
    if found is None and slope != 1:
        found = cpu.onednn_convolution(maps, weight, bias, stride, padding, dilation, slope)
    return found


def _lowered(maps: Tensor, weight: Tensor, bias: Tensor | None, numbers: _Numbers) -> Tensor | None:
    """`convolve` as autocast wants it in bfloat16 without gradients; None where PyTorch's own is to do it."""
    stride, padding, dilation, slope = numbers
    if cpu.wins_lowered(maps, weight, stride, padding, dilation):
        into = _new_half(maps, weight)
        return cpu.convolution(maps, weight, bias, dilation, slope, into=into)
    if cpu_few_inputs.wins(maps, weight, padding, dilation, lowered=True):
        return cpu_few_inputs.convolution(maps, weight, bias, stride, padding, slope, lowered=True)
    if cpu.tiles_win(maps, weight, stride, dilation):
        return cpu.tile_convolution(maps, weight, bias, stride, padding, dilation, slope, lowered=True)
    return cpu.lowered_convolution(maps, weight, bias, stride, padding, dilation, slope)


def convolve_into(
    result: Tensor,
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    slope: float = 1.0,
) -> None:
    """`convolve` into a tensor (B,D,H',W') that exists, in its type; for inference.

    The kernels write to where it is, if that is channels last, or some channels of such a tensor.
    """
    done = None
    if not torch.is_grad_enabled() and native_call.numbers_a_pixel(result, result.dtype):
        if _is_plain(maps, weight, bias) and result.dtype == torch.float32:
            if cpu.wins(maps, weight, stride, padding, dilation) and _has_kernels(maps):
                done = cpu.convolution(maps, weight, bias, dilation, slope, into=result)
        elif _is_lowered(maps, weight) and cpu.writes_type(result):
            if cpu.wins_lowered(maps, weight, stride, padding, dilation):
                done = cpu.convolution(maps, weight, bias, dilation, slope, into=result)
            elif cpu.tiles_win(maps, weight, stride, dilation):
                numbers = stride, padding, dilation, slope
                done = cpu.tile_convolution(maps, weight, bias, *numbers, lowered=True, into=result)
    if done is None:
        result.copy_(convolve(maps, weight, bias, stride, padding, dilation, slope))


def convolve_partly_lowered(
    maps: Tensor, exact: Tensor, at: int, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """A convolution of stride 1 in float32, of maps in bfloat16 of which some channels are known better; for inference.

    Args:
        maps: (B,C,H,W), bfloat16.
        exact: (B,D,H,W), float32: its channels from `at` on; there may be none.
        at: 0 to C-D.
        weight, bias, padding: see `convolve`; float32.
    """
    end = at + exact.shape[1]
    others = weight
    if exact.shape[1] > 0:
        others = weight.clone(memory_format=torch.preserve_format)
        others[:, at:end] = 0
    own, numbers = weight[:, at:end], (1, padding, 1, 1.0)
    if not torch.is_grad_enabled() and _is_run(maps, weight):
        result = None
        if cpu.has_tiles():
            result = cpu.tile_convolution(maps, others, bias, *numbers, lowered=False)
            if result is not None and exact.shape[1] > 0:
                result = cpu.tile_convolution(exact, own, None, *numbers, lowered=False, into=result, add=True)
        elif cpu_few_outputs.wins(maps, weight, 1, padding, 1):
            result = cpu_few_outputs.convolution(maps, others, bias, padding)
            if result is not None and exact.shape[1] > 0:
                result = cpu_few_outputs.convolution(exact, own, None, padding, into=result, add=True)
        if result is not None:
            return result
    result = convolve(maps.to(weight.dtype), others, bias, *numbers)
    return result + convolve(exact, own, None, *numbers) if exact.shape[1] > 0 else result


def convolve_few(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """A 3x3 convolution to few outputs, of which there are kernels, with a result in float32; for inference.

    (B,C,H,W), (D,C,3,3), (D) -> (B,D,H,W), channels last; None where there is no gain. Under autocast to bfloat16 maps
    and weights are rounded to it.
    """
    if torch.is_grad_enabled():
        return None
    if _is_plain(maps, weight, bias) and cpu_few_outputs.wins(maps, weight, 1, (1, 1), 1):
        return cpu_few_outputs.convolution(maps, weight, bias, (1, 1))
    if not _is_lowered(maps, weight) or not cpu.tiles_win(maps, weight, 1, 1):
        return None
    shape = maps.shape[0], weight.shape[0], *maps.shape[2:]
    result = torch.empty(shape, dtype=torch.float32, memory_format=_LAST)
    return cpu.tile_convolution(maps, weight, bias, 1, (1, 1), 1, 1.0, lowered=True, into=result)


def convolve_parts(
    parts: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    slope: float = 1.0,
) -> Tensor | None:
    """`convolve` of maps (B,C_i,H,W) beside each other, without a copy that holds them all; None where that is no gain.

    For inference on a CPU, of maps in channels-last layout. The results of windows of 3x3 are the same bits; those of
    single pixels are sums of the parts' sums, and differ by rounding.
    """
    if torch.is_grad_enabled() or len(parts) < 2:
        return None
    weights = weight.split([part.shape[1] for part in parts], dim=1)
    if not all(_is_plain(part, its_weight, bias) for part, its_weight in zip(parts, weights, strict=True)):
        return None
    numbers = stride, padding, dilation
    if len(parts) == 2 and parts[0].shape[1] % cpu.WHOLE_VECTORS == 0:
        wins = all(cpu.wins(part, weight, *numbers) and native_call.numbers_a_pixel(part) for part in parts)
        if wins and native.library() is not None:
            return cpu.convolution_of_two(parts[0], parts[1], weight, bias, dilation, slope)
    if tuple(weight.shape[2:]) == (1, 1) and stride == 1 and padding == (0, 0):
        return cpu.onednn_sum(parts, weights, bias, slope)
    return None


def _new_half(maps: Tensor, weight: Tensor) -> Tensor:
    """For the result of a convolution of stride 1 that keeps the size."""
    shape = maps.shape[0], weight.shape[0], *maps.shape[2:]
    return native_call.in_large_pages(torch.empty(shape, dtype=torch.bfloat16, memory_format=_LAST))


def _is_plain(maps: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether this is a convolution of float32 maps on the CPU, as it stands."""
    if not _is_run(maps, weight) or torch.is_autocast_enabled("cpu"):
        return False
    return all(each is None or each.dtype == torch.float32 for each in (maps, weight, bias))


def _is_lowered(maps: Tensor, weight: Tensor) -> bool:
    """Whether this is one that autocast wants in bfloat16 on the CPU, without gradients."""
    return not torch.is_grad_enabled() and _becomes_half(maps, weight)


def _trains_lowered(maps: Tensor, weight: Tensor, numbers: _Numbers) -> bool:
    """Whether gradients are recorded of one that autocast wants in bfloat16, and Winograd's kernels are faster."""
    if not torch.is_grad_enabled() or not weight.requires_grad or not _becomes_half(maps, weight):
        return False
    stride, padding, dilation, _ = numbers
    return maps.is_contiguous(memory_format=_LAST) and cpu.suits_lowered(maps, weight, stride, padding, dilation)


def _becomes_half(maps: Tensor, weight: Tensor) -> bool:
    """Whether autocast wants this in bfloat16, of numbers on the CPU."""
    if autocast_type(maps) != torch.bfloat16 or not _is_run(maps, weight):
        return False
    return {maps.dtype, weight.dtype} <= {torch.float32, torch.bfloat16}


def _is_spoilt(maps: Tensor, weight: Tensor) -> bool:
    """Whether training in bfloat16 on a CPU would ask oneDNN for gradients that it spoils.

    Of windows with gaps and channels that fill no whole vector (24, 40, 120) the gradient to the weights is not finite,
    or the process dies.
    """
    kind = autocast_type(maps) or maps.dtype
    if not torch.is_grad_enabled() or is_traced() or not maps.is_cpu or kind != torch.bfloat16:
        return False
    return any(channels % cpu.ONEDNN_VECTOR != 0 for channels in weight.shape[:2])


def _is_run(maps: Tensor, weight: Tensor) -> bool:
    """Whether numbers are convolved on the CPU: of plain tensors whose sizes fit, and not in a trace."""
    if is_traced() or not maps.is_cpu or not type(maps) is type(weight.data) is Tensor:
        return False
    return maps.dim() == 4 and maps.shape[1] == weight.shape[1] and maps.numel() > 0


def _has_kernels(maps: Tensor) -> bool:
    """Whether there are kernels for maps of so many channels."""
    return maps.shape[1] >= _LEAST_CHANNELS and native.library() is not None
