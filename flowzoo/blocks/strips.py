"""Large frames in overlapping strips of rows, with the very same result and a fraction of the memory.

A convolution stack only sees `halo` rows around a pixel. So its output can be computed strip by strip from input rows
that reach `halo` further on both sides; nothing has to be blended. `strip_pixels` switches this on for a block of
code; `in_strips` is what the parts of a network call, and does nothing special while it is off.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_PIXELS: ContextVar[int | None] = ContextVar("strip_pixels", default=None)


@contextmanager
def strip_pixels(pixels: int | None) -> Iterator[None]:
    """Within this block, maps are computed in strips of about `pixels` of their own pixels; None = whole.

    Strips are at least twice as high as the rows that they share with their neighbours.
    """
    token = _PIXELS.set(pixels)
    try:
        yield
    finally:
        _PIXELS.reset(token)


def in_strips(
    function: Callable[[list[Tensor]], Sequence[Tensor]],
    maps: Sequence[Tensor],
    halo: int,
    strides: Sequence[int] = (1,),
    align: int = 1,
) -> list[Tensor]:
    """`function(maps)`, in strips where `strip_pixels` asks for it and no gradient is wanted.

    Args:
        function: maps lists (B,C_i,H,W) to one map a stride, (B,D_j,H/stride,W/stride), and sees `halo` rows.
        maps: on one grid.
        halo: rows of the input that an output pixel sees on either side.
        strides: of the outputs; all divide `align`.
        align: strips begin at multiples of this (where the function samples every n-th row).
    """
    pixels = _PIXELS.get()
    height, width = maps[0].shape[-2:]
    halo = -(-halo // align) * align
    # Strips much lower than their halo would compute most rows twice.
    rows = height if pixels is None else max(2 * halo + align, pixels // width // align * align)
    if rows >= height or (torch.is_grad_enabled() and any(entry.requires_grad for entry in maps)):
        return list(function(list(maps)))
    outputs: list[Tensor] = []
    for top in range(0, height, rows):
        begin, end = max(0, top - halo), min(height, top + rows + halo)
        parts = function([entry[..., begin:end, :] for entry in maps])
        if not outputs:
            outputs = [
                part.new_empty((*part.shape[:2], -(-height // stride), part.shape[3]))
                for part, stride in zip(parts, strides, strict=True)
            ]
        for output, part, stride in zip(outputs, parts, strides, strict=True):
            first, last = top // stride, -(-min(height, top + rows) // stride)
            offset = first - begin // stride
            output[..., first:last, :] = part[..., offset : offset + last - first, :]
    return outputs
