"""Twice the size by sub-pixel convolution: channels of the small map become pixels of the large one.

Shi, Caballero, Huszar, Totz, Aitken, Bishop, Rueckert, Wang: "Real-Time Single Image and Video Super-Resolution Using
an Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.blocks.convolution import SLOPE, Convolution

FACTOR = 2


def enlarged(layer: Convolution, maps: Tensor, slope: float = SLOPE) -> Tensor:
    """Convolution, leaky ReLU, and `torch.nn.functional.pixel_shuffle` by two: (B,C,H,W) -> (B,D/4,2H,2W).

    Args:
        layer: with D outputs.
        maps: what it sees.
        slope: of the leaky ReLU, which gives the same before and after the shuffle; 1 is none.
    """
    if torch.is_grad_enabled() or maps.device.type != "cpu":
        return F.pixel_shuffle(layer.activated(maps, slope), FACTOR)
    # With outputs in another order, the four pixels of a channel apart, what is moved are runs of whole pixels.
    outputs = layer.out_channels // FACTOR**2
    weight, bias = (
        None if part is None else part.unflatten(0, (outputs, FACTOR**2)).transpose(0, 1).flatten(0, 1)
        for part in (layer.weight, layer.bias)
    )
    assert weight is not None, "only the bias may be missing"
    found = layer.with_weights(maps, weight, bias, slope).permute(0, 2, 3, 1)
    batch, height, width, _ = found.shape
    pixels = found.unflatten(3, (FACTOR, FACTOR, outputs)).transpose(2, 3)
    result: Tensor = pixels.reshape(batch, FACTOR * height, FACTOR * width, outputs).permute(0, 3, 1, 2)
    return result


BAND_PIXELS = 131_072
"""Of the input of what runs in bands: enough that the rows which neighbours share cost little."""
SHARED_ROWS = 4
"""On either side of a band; a multiple of four keeps the grid of the convolutions' tiles, and so every bit."""


def in_bands(function: Callable[[Tensor], Tensor], maps: Tensor, factor: int) -> Tensor:
    """`function(maps)`, without gradients band by band: many channels at the large size take most of the memory.

    Args:
        function: (B,C,h,W) -> (B,D,factor*h,factor*W); may see up to four rows of `maps` around a pixel.
        maps: (B,C,H,W).
        factor: how much larger the result is.
    """
    batch, _, height, width = maps.shape
    rows = max(SHARED_ROWS, BAND_PIXELS // (batch * width) // SHARED_ROWS * SHARED_ROWS)
    if torch.is_grad_enabled() or rows >= height:
        return function(maps)
    result: Tensor | None = None
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        begin, end = max(0, top - SHARED_ROWS), min(height, bottom + SHARED_ROWS)
        part = function(maps[..., begin:end, :])
        if result is None:
            result = part.new_empty(batch, part.shape[1], factor * height, part.shape[3])
        result[..., factor * top : factor * bottom, :] = part[
            ..., factor * (top - begin) : factor * (bottom - begin), :
        ]
    assert result is not None, "maps have rows"
    return result
