"""Convolutions of float32 maps in channels-last layout by kernels: Winograd's, and the gradient to any weights.

3x3 windows of stride 1 are done by Winograd's F(4x4, 3x3) (kernels/winograd.cpp): about half the time of a direct
convolution where there are many channels; the results differ from it by rounding (relative to the largest value, by
some 1e-6 where a direct convolution is off by some 1e-7). Large maps in bfloat16 are done by F(6x6, 3x3), which is
faster and off by some 1e-5; bfloat16 itself rounds to 4e-3. Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", CVPR 2016. kernels/convolution_weights.cpp is a direct sum for windows of any shape, stride and dilation.
What is left to PyTorch has its leaky ReLU in the same pass, as PyTorch's compiler does it: the same bits, one pass over
memory less. So has what autocast wants in bfloat16.

Some processors multiply bfloat16 numbers and add the products in float32: matrices of them by matrix tiles (Intel's
AMX), or pairs of them (AVX-512 BF16), which is slower than Winograd's kernel, whose maps may be bfloat16. What autocast
wants in bfloat16 is done so in one pass (kernels/tile_convolution.cpp), from maps in float32 or bfloat16 to a result in
either. By tiles, layers that flow comes from take float32 as three such products: numbers and weights are split into
what bfloat16 holds of them and what it holds of the rest, and the product of the rests is left out (Henry, Tang and
Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", ARITH 2019).
That is off by at most some 1e-5 of the products' sizes: enough behind features in bfloat16, too little for a whole
network in float32.

Functions return None where there is no kernel or memory ran out.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flowzoo.operators import native, native_call
from flowzoo.operators.native_call import Memory, reads, reads_pixels, writes, writes_pixels

_LEAST_CHANNELS, _LEAST_WIDER = 32, 64
"""Of the maps with fewer and with more channels: below these the transforms cost what the products save."""
_LEAST_TILES = 30
"""Below this the transform of the weights does."""
_LEAST_TILES_AT_ONCE = 100
"""The same of one frame, without gradients: below it no network gains."""
_LEAST_LOWERED, _LEAST_LOWERED_OF_FEW = 100, 400
"""The same where oneDNN would take bfloat16."""

_MOST_WASTE_LOWERED = 1.25
"""While gradients are recorded: tiles' pixels for each of the maps', above which oneDNN's bfloat16 is faster."""

_LEAST_LARGE_TILES, _MOST_PRODUCTS = 200, 0.9
"""Of a frame: with fewer tiles of 6x6 pixels, and more than this part of 4x4's products, 4x4 is as fast."""

_LEAST_CHANNELS_AT_ONCE = 24
"""Of both maps, without gradients, where there are many tiles."""

_LEAST_NUMBERS = 20480
"""PyTorch does not give maps of fewer to oneDNN."""

_LEAST_PRODUCTS = 360
"""Of a sum, window times channels: with fewer, oneDNN, which has the tiles, too, packs less than the kernel."""
_LEAST_FOR_TILES = 16
"""Of a map's channels."""
_FEW_OUTPUTS = 8
"""A convolution to no more of them is mostly reading its input."""

ONEDNN_VECTOR = 16
"""Channels that oneDNN takes at a time."""
WHOLE_VECTORS = 32
"""Numbers that whole vectors of any processor hold together: where maps end that others lie beside."""

_LAST = torch.channels_last


def suits(maps: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int) -> bool:
    """Whether this convolution can be done so, and gains by it."""
    if tuple(weight.shape[2:]) != (3, 3) or stride != 1 or padding != (dilation, dilation):
        return False
    if min(weight.shape[:2]) < _LEAST_CHANNELS or max(weight.shape[:2]) < _LEAST_WIDER:
        return False
    tiles, waste = _tiles(maps.shape[0], maps.shape[2:], dilation)
    return tiles >= _LEAST_TILES and waste <= 2


def suits_lowered(maps: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int) -> bool:
    """The same of one that autocast wants in bfloat16."""
    if not suits(maps, weight, stride, padding, dilation) or native.library() is None:
        return False
    tiles, waste = _tiles(maps.shape[0], maps.shape[2:], dilation)
    return tiles >= _LEAST_LOWERED and waste <= _MOST_WASTE_LOWERED and not has_tiles()


def wins(maps: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int) -> bool:
    """Whether the kernel is faster than PyTorch's convolution without gradients.

    A rule that follows from measurements (tools/time_convolutions.py). It does not depend on the batch, so that a frame
    gets the same bits in a batch of any size.
    """
    if tuple(weight.shape[2:]) != (3, 3) or stride != 1 or padding != (dilation, dilation):
        return False
    least = min(weight.shape[:2])
    tiles, waste = _tiles(1, maps.shape[2:], dilation)
    if least < _LEAST_CHANNELS_AT_ONCE or tiles < _LEAST_TILES_AT_ONCE:
        return False
    # What comes in another layout is copied, which only pays where much is done with each value.
    outputs_for_copy = 0 if native_call.numbers_a_pixel(maps, maps.dtype) else _LEAST_WIDER
    return waste <= 2 and weight.shape[0] >= outputs_for_copy


def _tiles(batch: int, sides: Sequence[int], dilation: int, tile: int = 4) -> tuple[int, float]:
    """How many tiles of `tile`^2 pixels the maps have, and how many pixels those have for each pixel of the maps."""
    rows, columns = (math.ceil(side / (tile * dilation)) for side in sides)
    tiles = batch * dilation * dilation * rows * columns
    return tiles, tile * tile * tiles / (batch * math.prod(sides))


def tile_side(sides: Sequence[int], dilation: int, *dtypes: torch.dtype) -> int:
    """Pixels of the side of a tile, 4 or 6, by maps' height and width and their and the result's type."""
    (small, _), (large, _) = (_tiles(1, sides, dilation, tile) for tile in (4, 6))
    faster = large >= _LEAST_LARGE_TILES and 64 * large <= _MOST_PRODUCTS * 36 * small
    return 6 if faster and torch.bfloat16 in dtypes else 4


def convolution(
    maps: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, slope: float, into: Tensor | None = None
) -> Tensor | None:
    """Convolution, bias and leaky ReLU: (B,C,H,W), (D,C,3,3), (D) -> (B,D,H,W); None where memory ran out.

    All in float32, also of maps in bfloat16, whose result is rounded to it.

    `into`: maps in channels-last layout, or some channels of such a tensor, float32 or bfloat16, that take the result.
    """
    return _convolve((maps,), weight, bias, dilation, slope, into=into)


def convolution_of_two(
    first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, slope: float
) -> Tensor | None:
    """The same of maps (B,C1,H,W) and (B,C2,H,W) beside each other, C1 a multiple of `WHOLE_VECTORS`: same bits."""
    return _convolve((first, second), weight, bias, dilation, slope)


def maps_gradient(gradient: Tensor, weight: Tensor, dilation: int) -> Tensor | None:
    """From the gradient (B,D,H,W) of the convolution to that of its input (B,C,H,W)."""
    return _convolve((gradient,), weight.flip(2, 3), None, dilation, 1.0, transposed=True)


def _convolve(
    parts: tuple[Tensor, ...],
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    slope: float,
    *,
    transposed: bool = False,
    into: Tensor | None = None,
) -> Tensor | None:
    """With weights (outputs,channels,3,3), or transposed ones (channels,outputs,3,3)."""
    first, *others = parts
    batch, split, height, width = first.shape
    channels = split + sum(part.shape[1] for part in others)
    outputs, inside = weight.shape[1 if transposed else 0], weight.shape[1]
    kind = torch.bfloat16 if first.dtype == torch.bfloat16 else torch.float32
    result, result_pixel = writes(batch, outputs, height, width, layout=_LAST, dtype=kind), outputs
    if into is not None:
        result, result_pixel = writes_pixels("result", into, (batch, outputs, height, width))
    seen, pixel = reads_pixels("maps", first, first.shape, kind)
    second, second_pixel = None, 0
    if others:
        second, second_pixel = reads_pixels("second maps", others[0], (batch, channels - split, height, width), kind)
    memory = (
        seen,
        second,
        reads("weights", weight, (channels, outputs, 3, 3) if transposed else (outputs, channels, 3, 3), layout=_LAST),
        None if bias is None else reads("bias", bias, (outputs,)),
        result,
    )
    sizes = batch, channels, height, width, outputs, dilation, split, pixel, second_pixel, result_pixel
    steps = inside, *((9 * inside, 1) if transposed else (1, 9 * inside))
    side = tile_side((height, width), dilation, kind, result.tensor.dtype)
    types = int(kind == torch.bfloat16), int(result.tensor.dtype == torch.bfloat16)
    threads = native_call.threads_for(2 * batch * channels * height * width * outputs)
    done = native_call.run("winograd", *memory, *sizes, *steps, side, *types, float(slope), threads=threads)
    return result.tensor if done else None


def weight_gradient(maps: Tensor, gradient: Tensor, dilation: int) -> Tensor | None:
    """From the input (B,C,H,W) and the gradient (B,D,H,W) of the convolution to that of its weights (D,C,3,3)."""
    batch, channels, height, width = maps.shape
    outputs = gradient.shape[1]
    result = writes(outputs, channels, 3, 3, layout=_LAST)
    kind = torch.bfloat16 if maps.dtype == gradient.dtype == torch.bfloat16 else torch.float32
    seen, pixel = reads_pixels("maps", maps, maps.shape, kind)
    given, gradient_pixel = reads_pixels("gradient", gradient, (batch, outputs, height, width), kind)
    memory = seen, given, result
    numbers = *maps.shape, outputs, dilation, pixel, gradient_pixel, int(kind == torch.bfloat16)
    threads = native_call.threads_for(2 * maps.numel() * outputs)
    return result.tensor if native_call.run("winograd_weights", *memory, *numbers, threads=threads) else None


def any_weight_gradient(
    maps: Tensor, gradient: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int
) -> Tensor | None:
    """The same for a window of any shape: (B,C,H,W) and (B,D,H',W') -> (D,C,h,w), like `weight`."""
    outputs, channels, *window = weight.shape
    rows, columns = (
        (side + 2 * pad - dilation * (taps - 1) - 1) // stride + 1
        for side, pad, taps in zip(maps.shape[2:], padding, window, strict=True)
    )
    result = writes(*weight.shape, layout=_LAST)
    memory = (
        reads("maps", maps, (maps.shape[0], channels, *maps.shape[2:]), layout=_LAST),
        reads("gradient", gradient, (maps.shape[0], outputs, rows, columns), layout=_LAST),
        result,
    )
    numbers = *maps.shape, outputs, rows, columns, channels, outputs, *window, stride, dilation, *padding
    threads = native_call.threads_for(2 * gradient.numel() * channels * math.prod(window))
    return result.tensor if native_call.run("convolution_weights", *memory, *numbers, threads=threads) else None


def onednn_convolution(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    slope: float,
) -> Tensor | None:
    """Convolution, bias and leaky ReLU, at once by oneDNN: (B,C,H,W), (D,C,h,w), (D) -> (B,D,H',W').

    For float32 maps on the CPU, channels last, without gradients. None for other layouts, where PyTorch takes other
    code for the convolution, and where this version of it cannot do both at once.
    """
    one_pixel = tuple(weight.shape[2:]) == (1, 1) and stride == 1
    if maps.numel() <= _LEAST_NUMBERS or (one_pixel and torch.get_num_threads() == 1):
        return None
    if not maps.is_contiguous(memory_format=_LAST):  # PyTorch 2.7 rounds otherwise in other layouts
        return None
    both = both_at_once()
    if both is None:
        return None
    sides = [stride, stride], [dilation, dilation]
    result: Tensor = both(maps, weight, bias, list(padding), *sides, 1, "leaky_relu", [slope], "")
    return result


def onednn_sum(parts: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor | None, slope: float) -> Tensor | None:
    """Convolution of single pixels, bias and ReLU (slope 0) or none (1): (B,C_i,H,W), (D,C_i,1,1), (D) -> (B,D,H,W).

    Each part's sums are added to the ones before. Under the conditions of `onednn_convolution`; None where one of the
    parts does not meet them.
    """
    whole, add = both_at_once(), _added_at_once()
    if whole is None or add is None or slope not in (0, 1) or torch.get_num_threads() == 1:
        return None
    if not all(part.numel() > _LEAST_NUMBERS and part.is_contiguous(memory_format=_LAST) for part in parts):
        return None
    none, one = [0, 0], [1, 1]
    result: Tensor = whole(parts[0], weights[0], bias, none, one, one, 1, "none", [], "")
    for index in range(1, len(parts)):
        activation = "relu" if index == len(parts) - 1 and slope == 0 else None
        add(result, parts[index], weights[index], None, none, one, one, 1, "add", 1.0, activation, [], None)
    return result


def lowered_convolution(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    slope: float,
) -> Tensor | None:
    """What autocast wants in bfloat16, by oneDNN with bias and leaky ReLU in the same pass: rounded once, behind both.

    (B,C,H,W), (D,C,h,w), (D) -> (B,D,H',W') in bfloat16, channels last; None where oneDNN cannot do it here.
    """
    both = both_at_once()
    if both is None or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    maps = maps.to(torch.bfloat16, memory_format=_LAST)
    weight, bias = weight.to(torch.bfloat16), None if bias is None else bias.to(torch.bfloat16)
    activation = ("none", []) if slope == 1 else ("leaky_relu", [slope])
    sides = [stride, stride], [dilation, dilation]
    result: Tensor = both(maps, weight, bias, list(padding), *sides, 1, *activation, "")
    return result


def has_tiles() -> bool:
    """Whether the processor has matrix tiles that this process may use, and there are kernels."""
    return native_call.run("has_matrix_tiles", threads=1)


def multiplies_halves() -> bool:
    """Whether the processor multiplies bfloat16 numbers, by tiles or in pairs, and there are kernels."""
    return native_call.run("multiplies_halves", threads=1)


def wins_lowered(maps: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: int) -> bool:
    """Whether Winograd's float32 is faster than any convolution in bfloat16; independent of the batch."""
    tiles, _ = _tiles(1, maps.shape[2:], dilation)
    if tiles < (_LEAST_LOWERED_OF_FEW if min(weight.shape[:2]) < _LEAST_WIDER else _LEAST_LOWERED):
        return False
    if not wins(maps, weight, stride, padding, dilation):
        return False
    return native.library() is not None and not has_tiles()


def tiles_win(maps: Tensor, weight: Tensor, stride: int, dilation: int) -> bool:
    """Whether the kernel is faster than oneDNN for what autocast wants in bfloat16; independent of the batch."""
    outputs, channels, *window = weight.shape
    if min(stride, dilation) != 1 or channels < _LEAST_FOR_TILES or window == [1, 1]:
        return False
    pixel = native_call.numbers_a_pixel(maps, maps.dtype)
    if outputs <= _FEW_OUTPUTS:
        return pixel > 0 and multiplies_halves()
    if channels * window[0] * window[1] < _LEAST_PRODUCTS:
        return False
    # Without tiles, oneDNN is as fast; but it would have to copy what lies among others' channels.
    return has_tiles() or (pixel > channels and multiplies_halves())


def writes_type(result: Tensor) -> bool:
    """Whether kernels write numbers of this type."""
    return result.dtype in (torch.float32, torch.bfloat16)


def reads_weights(weight: Tensor) -> tuple[Memory, tuple[int, int]]:
    """Weights (D,C,h,w) as they lie, and how many numbers it is from tap to tap and from channel to channel."""
    channels, taps = weight.shape[1], weight.shape[2] * weight.shape[3]
    if weight.is_contiguous(memory_format=_LAST):
        return reads("weights", weight, weight.shape, layout=_LAST), (channels, 1)
    return reads("weights", weight, weight.shape), (1, taps)


def tile_convolution(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    slope: float,
    *,
    lowered: bool,
    into: Tensor | None = None,
    add: bool = False,
) -> Tensor | None:
    """Convolution, bias and leaky ReLU: (B,C,H,W), (D,C,h,w), (D) -> (B,D,H',W'); None where memory ran out.

    Args:
        maps: float32 or bfloat16.
        weight, bias: float32 or smaller.
        stride, padding, dilation, slope: see `convolve`; one of stride and dilation is 1.
        lowered: whether numbers and weights are rounded to bfloat16; otherwise they are taken as they are.
        into: (B,D,H',W') channels last, or some channels of such a tensor, float32 or bfloat16, that takes the result;
            None: a new one, in bfloat16 if `lowered`.
        add: whether what `into` holds is one more summand.
    """
    batch, channels, height, width = maps.shape
    outputs, _, tall, wide = weight.shape
    rows = (height + 2 * padding[0] - dilation * (tall - 1) - 1) // stride + 1
    columns = (width + 2 * padding[1] - dilation * (wide - 1) - 1) // stride + 1
    if into is None:
        dtype = torch.bfloat16 if lowered else torch.float32
        into = torch.empty((batch, outputs, rows, columns), dtype=dtype, memory_format=_LAST)
    half = maps.dtype == torch.bfloat16
    seen, pixel = reads_pixels("maps", maps, maps.shape, torch.bfloat16 if half else torch.float32)
    result, result_pixel = writes_pixels("result", into, (batch, outputs, rows, columns))
    weights, tap_and_channel = reads_weights(weight)
    memory = seen, weights, None if bias is None else reads("bias", bias, (outputs,)), result
    sizes = batch, channels, height, width, outputs, rows, columns, tall, wide, stride, dilation, *padding
    steps = pixel, result_pixel, *tap_and_channel
    types = int(half), int(into.dtype == torch.bfloat16), 1 if lowered else 2, int(add)
    threads = native_call.threads_for(batch * channels * rows * columns * outputs)
    done = native_call.run("tile_convolution", *memory, *sizes, *steps, *types, float(slope), threads=threads)
    return into if done else None


def _added_at_once() -> Callable[..., Tensor] | None:
    """The operator that adds to what there is."""
    found: Callable[..., Tensor] | None = getattr(
        getattr(torch.ops.mkldnn, "_convolution_pointwise_", None), "binary", None
    )
    return found


def both_at_once() -> Callable[..., Tensor] | None:
    """The operator, where it exists and oneDNN is not switched off."""
    if not torch.backends.mkldnn.is_available() or not torch._C._get_mkldnn_enabled():
        return None
    found: Callable[..., Tensor] | None = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    return found
