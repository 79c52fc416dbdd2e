"""Flow of another size: vectors grow and shrink with the picture."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.flow.kinds import Maps, flow_in


def resize(flow: Maps, size: tuple[int, int]) -> Maps:
    """Flow resized to (height, width), x and y multiplied by their own factors.

    Bilinear with half-pixel centres, as images are resized; smaller sizes are low-pass filtered. Unknown (NaN) pixels
    take no part; a pixel most of which is unknown is unknown.

    Args:
        flow: in pixels of its own size (shapes: see `flowzoo.flow`).
        size: height and width of the result.

    Returns:
        Flow in pixels of the new size.

    Raises:
        InputError: a shape that flow does not have, or a size below one pixel.
    """
    field, kind = flow_in("flow", flow)
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"size is {size}: give height and width, at least one pixel each")
    height, width = size
    factors = field.new_tensor([width / field.shape[3], height / field.shape[2]]).view(1, 2, 1, 1)
    known = field.isfinite().all(dim=1, keepdim=True)
    if known.all():
        return kind.back(_resampled(field, size) * factors)  # type: ignore[no-any-return]
    share = _resampled(known.to(field.dtype), size)
    mean = _resampled(torch.where(known, field, 0.0), size) / share.clamp(min=1e-6)
    return kind.back(torch.where(share > 0.5, mean * factors, torch.nan))  # type: ignore[no-any-return]


def _resampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    smaller = size[0] < maps.shape[2] or size[1] < maps.shape[3]
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False, antialias=smaller)
