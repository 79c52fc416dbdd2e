"""Image resizing as Pillow's bilinear filter does it on 8-bit images, rounding included.

Some published networks got their input this way, and their results depend on it by tenths of a pixel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.blocks.resize import Size
from flowzoo.blocks.straight_through import straight_through

_BITS = 22  # of Pillow's fixed-point weights


def enlarge_8bit(images: Tensor, size: Size) -> Tensor:
    """(B,C,h,w) in [0,1] -> (B,C,*size), multiples of 1/255; rows first get their width, then columns their height.

    Args:
        images: values are rounded to multiples of 1/255 first. The gradient is that of enlarging without rounding.
        size: at least (h,w) on each side (shrinking would need a wider filter).
    """
    values = (images.detach() * 255).round().clamp(0, 255).to(torch.int64)
    for axis in (3, 2):
        values = _enlarge(values, axis, size[axis - 2])
    enlarged = (values.to(images.dtype) / 255).contiguous()
    if not images.requires_grad:
        return enlarged
    return straight_through(enlarged, F.interpolate(images, size, mode="bilinear", align_corners=False))


def _enlarge(values: Tensor, axis: int, length: int) -> Tensor:
    before = values.shape[axis]
    if before == length:
        return values
    centre = (torch.arange(length, dtype=torch.float64) + 0.5) * (before / length)
    low = torch.floor(centre - 0.5)
    # The triangle's two weights; at the border only one is inside and takes all.
    upper = centre - 0.5 - low
    upper = torch.where(low < 0, 1.0, torch.where(low + 1 > before - 1, 0.0, upper))
    weights = [((share * 2**_BITS) + 0.5).floor().to(torch.int64) for share in (1 - upper, upper)]
    total = 2 ** (_BITS - 1)
    for weight, index in zip(weights, (low, low + 1), strict=True):
        shape = [1, 1, 1, 1]
        shape[axis] = length
        place = index.clamp(0, before - 1).to(torch.int64).to(values.device)
        total = total + values.index_select(axis, place) * weight.to(values.device).view(shape)
    result: Tensor = (total >> _BITS).clamp(0, 255)
    return result
