"""Deformable convolution: every output pixel reads the map at places of its own, in pixel coordinates."""

from typing import Literal

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_maps, check_same_kind, check_shape, check_tensor, check_whole
from flowzoo.operators.deform.registered import DEFORM

Border = Literal["modern", "legacy"]
Pair = int | tuple[int, int]


def deform(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    border: Border = "modern",
) -> Tensor:
    """Deformable convolution, also with modulation masks, deformable groups and any number of offsets a pixel.

        out[b,o,p] = bias[o] + sum_n sum_c weight[o,c,n] * mask[b,g(c),n,p] * features[b,c](q + d[b,g(c),n,p])

    read bilinearly, where q = stride * p - padding + dilation * t_n, g(c) = c // (C/G), and the tap t_n is
    (n // kw, n % kw) as (y, x). It is equation 1 of "Understanding Deformable Alignment in Video Super-Resolution",
    with masks equation 7.

    A `weight` of three dimensions (O,C,N) means N offsets without taps: pixel p is read at p + d[n] (the
    generalisation of section 3.3, where N need not be a square); stride is 1 and padding 0 then.

    Args:
        features: (B,C,H,W).
        offset: (B,2*G*N,h,w), pixels of the features' grid; channel (g*N+n)*2 is dy, the next one dx. N = kh*kw. The
            number of groups G follows from the channels. A place that is NaN, infinite or far away reads 0.
        weight: (O,C,kh,kw), or (O,C,N).
        bias: (O,) or None.
        mask: (B,G*N,h,w), channel g*N+n, or None for ones.
        stride, padding, dilation: of the grid that offsets start from; one number, or (y, x).
        border: "modern" (DCNv2, torchvision, mmcv): a place counts if it is less than a pixel outside, and each of
            its four neighbours outside the map is zero. "legacy" (the kernel of 2017, TDAN's own weights): a place
            counts only inside 0 <= y < H, 0 <= x < W, and the neighbours behind the last row and column repeat it.

    Returns:
        (B,O,h,w) of the features' dtype. Differentiable twice in all tensors; the derivative to an offset is that of
        the cell that floor() opens, at whole numbers, too.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    strides, paddings, dilations = _pair("stride", stride), _pair("padding", padding), _pair("dilation", dilation)
    _check_numbers(weight, strides, paddings, dilations, border)
    _check_shapes(features, offset, weight, bias, mask, (strides, paddings, dilations))
    columns, step = (weight.shape[3], dilations) if weight.dim() == 4 else (weight.shape[2], (0, 0))
    flat, legacy = weight.flatten(2), border == "legacy"
    result: Tensor = DEFORM(features, offset, flat, bias, mask, columns, strides, paddings, step, legacy)
    return result


def _pair(name: str, value: Pair) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(entry, int) for entry in pair):
        raise InputError(f"{name} must be a whole number or two (y, x), got {value!r}")
    return pair


def _check_numbers(
    weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], border: str
) -> None:
    if border not in ("modern", "legacy"):
        raise InputError(f"border must be 'modern' or 'legacy', got {border!r}")
    for name, pair, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        for value in pair:
            check_whole(name, value, least)
    check_tensor("weight", weight)
    if weight.dim() not in (3, 4):
        raise InputError(f"weight must be (O,C,kh,kw) or (O,C,N), got shape {tuple(weight.shape)}")
    if weight.dim() == 3 and (stride, padding, dilation) != ((1, 1), (0, 0), (1, 1)):
        raise InputError("a weight (O,C,N) has no taps: leave stride, padding and dilation as they are")


def output_size(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int]:
    """(h, w) of the result, as for any convolution; may be below 1 where the kernel does not fit."""
    height, width = (
        (side + 2 * pad - spread * (taps - 1) - 1) // step + 1
        for side, taps, step, pad, spread in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    return height, width


def _check_shapes(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    grid: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
) -> None:
    check_maps("features", features)
    check_maps("offset", offset)
    batch, channels = features.shape[:2]
    free = weight.dim() == 3
    kernel = (1, 1) if free else (weight.shape[2], weight.shape[3])
    taps = weight.shape[2] if free else kernel[0] * kernel[1]
    if weight.shape[1] != channels or taps == 0 or weight.shape[0] == 0:
        raise InputError(f"weight {tuple(weight.shape)} does not fit features with {channels} channels")
    size = output_size((features.shape[2], features.shape[3]), kernel, *grid)
    groups, rest = offset.shape[1] // (2 * taps), offset.shape[1] % (2 * taps)
    if rest or channels % max(groups, 1) or (offset.shape[0], *offset.shape[2:]) != (batch, *size):
        raise InputError(
            f"offset must be ({batch}, 2*groups*{taps}, {size[0]}, {size[1]}) with groups that divide the features' "
            f"{channels} channels, got {tuple(offset.shape)}"
        )
    check_same_kind("offset", offset, "features", features)
    check_same_kind("weight", weight, "features", features)
    if mask is not None:
        check_shape("mask", mask, (batch, groups * taps, *size), "offset", offset)
    if bias is not None:
        check_shape("bias", bias, weight.shape[:1], "weight", weight)
