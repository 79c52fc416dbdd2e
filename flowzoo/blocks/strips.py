"""Large frames in overlapping strips of rows, with the very same result and a fraction of the memory.

A convolution stack only sees some rows around a pixel. So its output can be computed strip by strip from input rows
that reach that much further on both sides; nothing has to be blended. `strip_pixels` switches this on for a block of
code. A part of a network says by `Rows` what it sees and decorates its method by `strip_by_strip`, which does nothing
special while strips are off.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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


@dataclass(frozen=True)
class Rows:
    """What a function from maps to maps sees of their rows.

    Attributes:
        seen: rows of the input that an output pixel depends on, on either side; None = all, so that there are no
            strips.
        strides: input rows for each row of every output; all divide `grid`. One number stands for all outputs.
        grid: strips begin at multiples of this (where the function samples every n-th row).
    """

    seen: int | None
    strides: tuple[int, ...] = (1,)
    grid: int = 1


def rows_seen(*parts: nn.Module | None) -> int | None:
    """Rows that an output pixel of these modules in a row, all of stride 1, sees on either side; None = all of them.

    A module that is no convolution may say it by an attribute `rows_seen`.
    """
    total = 0
    for part in parts:
        if part is None:
            continue
        convolutions = [layer for layer in part.modules() if isinstance(layer, nn.Conv2d)]
        seen = sum(int(layer.kernel_size[0]) // 2 * layer.dilation[0] for layer in convolutions)
        own: Any = getattr(part, "rows_seen", seen)
        if own is None:
            return None
        total += own
    return total


def strip_by_strip(method: Callable[..., Sequence[Tensor]]) -> Callable[..., list[Tensor]]:
    """Let a module's method run in strips, where its attribute `rows` allows it.

    Positional arguments that are tensors are maps on one grid; others are passed on as they are.
    """

    @functools.wraps(method)
    def run(self: Any, *arguments: Any) -> list[Tensor]:
        rows: Rows = self.rows
        if rows.seen is None:
            return list(method(self, *arguments))
        places = [place for place, value in enumerate(arguments) if isinstance(value, Tensor)]

        def on_strip(maps: list[Tensor]) -> Sequence[Tensor]:
            values = list(arguments)
            for place, value in zip(places, maps, strict=True):
                values[place] = value
            return method(self, *values)

        return in_strips(on_strip, [arguments[place] for place in places], rows.seen, rows.strides, rows.grid)

    return run


def in_strips(
    function: Callable[[list[Tensor]], Sequence[Tensor]],
    maps: Sequence[Tensor],
    halo: int,
    strides: Sequence[int] = (1,),
    align: int = 1,
) -> list[Tensor]:
    """`function(maps)`, in strips where `strip_pixels` asks for it and no gradient is recorded.

    Args:
        function: maps lists (B,C_i,H,W) to one map a stride, (B,D_j,H/stride,W/stride), and sees `halo` rows.
        maps: on one grid.
        halo: rows of the input that an output pixel sees on either side.
        strides: of the outputs; all divide `align`; one number stands for all outputs.
        align: strips begin at multiples of this (where the function samples every n-th row).
    """
    # A compiled or exported program has no strips: they depend on the frame, and on this variable.
    pixels = None if torch.compiler.is_compiling() else _PIXELS.get()
    height, width = maps[0].shape[-2:]
    halo = -(-halo // align) * align
    # Strips much lower than their halo would compute most rows twice.
    rows = height if pixels is None else max(2 * halo + align, pixels // width // align * align)
    if rows >= height or torch.is_grad_enabled():
        return list(function(list(maps)))
    outputs: list[Tensor] = []
    for top in range(0, height, rows):
        begin, end = max(0, top - halo), min(height, top + rows + halo)
        parts = function([entry[..., begin:end, :] for entry in maps])
        strides = tuple(strides) * len(parts) if len(strides) == 1 else strides
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
