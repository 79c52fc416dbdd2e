"""`deform` and its gradients on the CPU (kernels/deform.cpp), or portable where there is no kernel."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.deform import definition
from flowzoo.operators.deform.definition import Grid
from flowzoo.operators.native_call import Memory, reads, suits, writes

_MOST_CHANNELS = 32
"""Of a group; wider ones are read in slices, whose number follows from the shape alone: see kernels/deform.cpp."""

_LARGEST = 2**28
"""Pixels; beyond it the kernel's coordinates, with offsets added, would not fit 32 bits."""


def _suits(features: Tensor, offset: Tensor, mask: Tensor | None, grid: Grid, *others: Tensor) -> bool:
    height, width = features.shape[-2:]
    furthest = max(*grid.stride, *grid.padding, *grid.step, 1) * (sum(offset.shape[1:]) + 1)
    if (height + 4) * (width + 2) >= _LARGEST or furthest >= _LARGEST:
        return False
    return suits(features, offset, *others, *([] if mask is None else [mask]))


def _features(features: Tensor) -> tuple[Memory, bool]:
    """As they lie in memory, and whether that is channels last."""
    turned = not features.is_contiguous() and features.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if turned else torch.contiguous_format
    return reads("features", features, features.shape, layout=layout), turned


def _sizes(features: Tensor, offset: Tensor, weight: Tensor) -> tuple[int, ...]:
    """Batch, C, H, W, O, G, N, h, w."""
    outputs, _, taps = weight.shape
    return *features.shape, outputs, offset.shape[1] // (2 * taps), taps, *offset.shape[2:]


def _threads(sizes: tuple[int, ...]) -> int:
    batch, channels, _, _, outputs, _, taps, rows, columns = sizes
    return native_call.threads_for(2 * batch * channels * outputs * taps * rows * columns)


def deform(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    *grid: Any,
) -> Tensor:
    """See definition.deform."""
    where = Grid(*grid)
    if _suits(features, offset, mask, where, weight, *([] if bias is None else [bias])):
        sizes = batch, channels, _, _, outputs, groups, taps, rows, columns = _sizes(features, offset, weight)
        given, turned = _features(features)
        result = writes(batch, outputs, rows, columns)
        memory = (
            given,
            reads("offset", offset, (batch, 2 * groups * taps, rows, columns)),
            reads("weight", weight, (outputs, channels, taps)),
            None if bias is None else reads("bias", bias, (outputs,)),
            None if mask is None else reads("mask", mask, (batch, groups * taps, rows, columns)),
            result,
        )
        numbers = *where.numbers, -(-channels // groups // _MOST_CHANNELS), turned
        if native_call.run("deform", *memory, *sizes, *numbers, threads=_threads(sizes)):
            return result.in_(features.dtype)
    return definition.deform(features, offset, weight, bias, mask, *grid)


def deform_backward(
    gradient: Tensor,
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    *grid: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See definition.deform_backward."""
    where = Grid(*grid)
    if _suits(features, offset, mask, where, gradient, weight):
        sizes = batch, channels, _, _, outputs, groups, taps, rows, columns = _sizes(features, offset, weight)
        given, turned = _features(features)
        slices = -(-channels // groups // _MOST_CHANNELS)
        shown = batch, groups * taps, rows, columns
        to_features, to_weight = writes(*features.shape), writes(*weight.shape)
        to_offset = writes(slices, *offset.shape)
        to_mask = None if mask is None else writes(slices, *shown)
        memory = (
            reads("gradient", gradient, (batch, outputs, rows, columns)),
            given,
            reads("offset", offset, (batch, 2 * groups * taps, rows, columns)),
            reads("weight", weight, (outputs, channels, taps)),
            None if mask is None else reads("mask", mask, shown),
            *(to_features, to_offset, to_weight, to_mask),
        )
        numbers = *where.numbers, slices, turned
        if native_call.run("deform_backward", *memory, *sizes, *numbers, threads=_threads(sizes)):
            return (
                to_features.in_(features.dtype),
                _summed(to_offset).to(offset.dtype),
                to_weight.in_(weight.dtype),
                features.new_empty(0) if mask is None or to_mask is None else _summed(to_mask).to(mask.dtype),
            )
    return definition.deform_backward(gradient, features, offset, weight, mask, *grid)


def _summed(slices: Memory) -> Tensor:
    """One slice's share after the other."""
    return slices.tensor[0] if slices.tensor.shape[0] == 1 else slices.tensor.sum(dim=0)
