"""Deformable convolution as its definition: one tap after the other is read and multiplied by that tap's weights.

Reading works in whole pixels and shares, both exact: `floor(offset)` and `offset - floor(offset)`. Coordinates scaled
to -1..1 and back would land in the neighbouring cell for some whole-number offsets, and all offsets are whole numbers
when training starts.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from flowzoo.operators.precision import working_dtype


def deform(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    border: str,
) -> Tensor:
    """See `flowzoo.operators.deform`; arguments are checked already."""
    dtype = working_dtype(features)
    batch, channels, height, width = features.shape
    kernel = (weight.shape[2], weight.shape[3]) if weight.dim() == 4 else (1, weight.shape[2])
    step = dilation if weight.dim() == 4 else (0, 0)
    taps = kernel[0] * kernel[1]
    groups = offset.shape[1] // (2 * taps)
    out_height, out_width = offset.shape[2:]
    with torch.autocast(features.device.type, enabled=False):
        # Rows of the table are the pixels of one group: a place reads whole rows.
        table = features.to(dtype).view(batch, groups, channels // groups, height * width).transpose(2, 3)
        table = table.reshape(batch * groups * height * width, channels // groups)
        weights = weight.to(dtype).flatten(2)
        places = offset.to(dtype).view(batch, groups, taps, 2, out_height, out_width)
        rows = torch.arange(out_height, device=offset.device).view(-1, 1) * stride[0] - padding[0]
        columns = torch.arange(out_width, device=offset.device) * stride[1] - padding[1]
        starts = torch.arange(batch * groups, device=offset.device).view(batch, groups, 1, 1) * (height * width)
        # Places beyond this are outside, whatever tap they start from.
        far = float(sum((height, width, *padding, *(k * s for k, s in zip(kernel, step, strict=True)), 2)))
        far += out_height * stride[0] + out_width * stride[1]
        total = features.new_zeros(batch, out_height * out_width, weight.shape[0], dtype=dtype)
        for tap in range(taps):
            y, x = rows + tap // kernel[1] * step[0], columns + tap % kernel[1] * step[1]
            read = table.new_zeros(())
            for index, share in _corners(places[:, :, tap], y, x, (height, width), far, border):
                part = table.index_select(0, (starts + index).flatten())
                read = read + part * share.flatten().unsqueeze(1)
            read = read.view(batch, groups, out_height * out_width, channels // groups)
            if mask is not None:
                shown = mask.view(batch, groups, taps, out_height * out_width)[:, :, tap]
                read = read * shown.to(dtype).unsqueeze(3)
            total = total + read.transpose(1, 2).flatten(2) @ weights[:, :, tap].t()
        if bias is not None:
            total = total + bias.to(dtype)
    return total.transpose(1, 2).reshape(batch, weight.shape[0], out_height, out_width).to(features.dtype)


def _corners(
    offset: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int], far: float, border: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Index of each of the four neighbours in the map and its share, (B,G,h,w); share 0 where nothing is read.

    Args:
        offset: (B,G,2,h,w), y then x.
        rows: (h,1) or (h,w) whole numbers that the offsets start from.
        columns: (w,) likewise.
        size: of the map.
        far: an offset that leaves the map in any case; stands for larger ones and NaN.
        border: "modern" or "legacy".
    """
    height, width = size
    limited = torch.where(offset.abs() <= far, offset, far)
    whole = limited.detach().floor()
    share = limited - whole
    top, left = whole[:, :, 0].long() + rows, whole[:, :, 1].long() + columns
    down, right = share[:, :, 0], share[:, :, 1]
    least = 0 if border == "legacy" else -1
    counts = (top >= least) & (top < height) & (left >= least) & (left < width)
    if border == "modern":
        # Exactly one pixel outside does not count: it reads 0 anyway, but would have a derivative.
        counts = counts & ~((top == -1) & (down == 0)) & ~((left == -1) & (right == 0))
    for lower in (0, 1):
        for later in (0, 1):
            y, x = top + lower, left + later
            if border == "legacy":
                y, x = y.clamp(max=height - 1), x.clamp(max=width - 1)
            inside = counts & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            along = down if lower else 1 - down
            across = right if later else 1 - right
            yield torch.where(inside, y * width + x, 0), torch.where(inside, along * across, 0.0)
