"""Forward warping in plain torch: the definition of `splat`."""

from collections.abc import Iterator

import torch
from torch import Tensor

from flowzoo.operators.coordinates import bounded, coordinates
from flowzoo.operators.precision import working_dtype


def corners(flow: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each neighbour of p + flow: index in the map, whether it is inside, shares along x and y; (B,1,HW)."""
    height, width = flow.shape[2:]
    limited = bounded(flow, height, width)
    whole = limited.detach().floor()
    share = limited - whole
    left, top = coordinates(whole)
    column, row = left.long(), top.long()
    for down in (0, 1):
        for right in (0, 1):
            y, x = row + down, column + right
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            index = torch.where(inside, y * width + x, 0)
            across = share[:, 0] if right else 1 - share[:, 0]
            along = share[:, 1] if down else 1 - share[:, 1]
            yield tuple(part.flatten(1).unsqueeze(1) for part in (index, inside, across, along))  # type: ignore[misc]


def splat(values: Tensor, flow: Tensor) -> Tensor:
    """(B,C,H,W) and (B,2,H,W) -> (B,C,H,W)."""
    dtype = working_dtype(values)
    batch, channels, height, width = values.shape
    source = values.to(dtype).flatten(2)
    total = source.new_zeros(batch, channels, height * width)
    for index, inside, across, along in corners(flow.to(dtype)):
        weighted = torch.where(inside, source * (across * along), 0.0)
        total = total.scatter_add(2, index.expand(-1, channels, -1), weighted)
    return total.view(batch, channels, height, width).to(values.dtype)
