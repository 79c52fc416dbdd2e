"""Sampled cost volumes in plain torch: the definition of `sampled_volume` and of its gradients.

Pixel p is compared with `second` at p + flow(p) + d for every displacement d. All d of a pixel share the fraction of
the flow, so a window of whole-pixel neighbours around floor(p + flow) holds all that is needed:

- correlation: dot products with the window, blended 2x2 afterwards (exact, since both are linear);
- SAD: the window's vectors are blended first, the absolute differences taken after.

Maps are turned to (pixels, channels) rows. The second map gets a border of one zero pixel, to which everything outside
is clamped, so every index is valid.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators.precision import working_dtype

_CHUNK = 1 << 18
"""Numbers gathered at a time: bounds the memory, and larger ones fall out of the cache."""


class _Windows(NamedTuple):
    """Where each of n output pixels looks, in rows of the bordered second map."""

    image: Tensor  # (n,) index of the first pixel of each one's image
    top: Tensor  # (n,) the window's first row and column, in pixels of the map without border
    left: Tensor  # (n,)
    steps: tuple[int, ...]  # pixels from the window's first row to each of its rows
    shifts: Tensor  # the same for columns
    size: tuple[int, int]  # of the map without border
    down_share: Tensor  # (n,1) fraction of the flow, y
    right_share: Tensor  # (n,1) x

    def row(self, row: int, start: int, stop: int) -> Tensor:
        """(stop - start, k) indices for one row of the windows."""
        height, width = self.size
        y = (self.top[start:stop] + self.steps[row]).clamp_(-1, height) + 1
        x = (self.left[start:stop].unsqueeze(1) + self.shifts).clamp_(-1, width) + 1
        return x.add_((self.image[start:stop] + y * (width + 2)).unsqueeze(1))


def _pixel_rows(maps: Tensor) -> Tensor:
    """(B,C,H,W) -> (B*H*W,C), contiguous (a reshape alone leaves a single image strided)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).contiguous()


def _maps(rows: Tensor, batch: int, height: int, width: int) -> Tensor:
    """(B*H*W,C) -> (B,C,H,W), contiguous."""
    return rows.view(batch, height, width, rows.shape[1]).permute(0, 3, 1, 2).contiguous()


def _windows(flow: Tensor, size: tuple[int, int], radius: int, dilation: int, stride: int) -> _Windows:
    height, width = size
    batch, _, rows, columns = flow.shape
    # Nothing as far as this is on the map; NaN fails the comparison and goes there too.
    far = _far(size, radius, dilation)
    bounded = torch.where(flow.abs() <= far, flow, torch.sym_float(far))
    whole = bounded.detach().floor()
    share = (bounded - whole).permute(0, 2, 3, 1).reshape(-1, 2)
    reach = radius * dilation
    left = whole[:, 0].long() + (torch.arange(columns, device=flow.device) * stride - reach)
    top = whole[:, 1].long() + (torch.arange(rows, device=flow.device) * stride - reach).view(-1, 1)
    pixels = (height + 2) * (width + 2)
    image = (torch.arange(batch, device=flow.device) * pixels).view(-1, 1, 1).expand(left.shape)
    steps = tuple(sorted({step * dilation + shift for step in range(2 * radius + 1) for shift in (0, 1)}))
    shifts = torch.arange(len(steps), device=flow.device)
    if dilation > 1:  # pairs of neighbours
        shifts = shifts // 2 * dilation + shifts % 2
    places = image.flatten(), top.flatten(), left.flatten()
    return _Windows(*places, steps, shifts, size, share[:, 1:], share[:, :1])


def _far(size: tuple[int, int], radius: int, dilation: int) -> int:
    """Pixels; no displacement leads from as far as this to the map, not even after rounding to float32."""
    return 2 * (sum(size) + radius * dilation + 2)


def _ends(dilation: int, radius: int) -> tuple[slice, slice]:
    """Which window columns (or rows) are the near and the far neighbours of the displacements."""
    if dilation == 1:
        return slice(0, 2 * radius + 1), slice(1, 2 * radius + 2)
    return slice(0, None, 2), slice(1, None, 2)


def _chunks(pixels: int, numbers_per_pixel: int) -> Iterator[tuple[int, int]]:
    length = max(1, _CHUNK // numbers_per_pixel)
    for start in range(0, max(pixels, 1), length):  # an empty batch is one empty chunk
        yield start, min(start + length, pixels)


def _dot_window(window: _Windows, base: Tensor, table: Tensor, start: int, stop: int) -> Tensor:
    """(n, window rows, window columns) scaled dot products of one chunk."""
    vectors = base[start:stop].unsqueeze(1)
    # In place: a fresh product costs more in page faults than in arithmetic. (A bmm is three times slower still.)
    rows = [_take(table, window.row(row, start, stop)).mul_(vectors).sum(dim=2) for row in range(len(window.steps))]
    return torch.stack(rows, dim=1)


def _take(table: Tensor, index: Tensor) -> Tensor:
    """table[index]: (n,k,C)."""
    return table.index_select(0, index.flatten()).view(*index.shape, table.shape[1])


def _blend(lower: Tensor, upper: Tensor, share: Tensor) -> Tensor:
    return lower + share * (upper - lower)


def _blended_row(
    window: _Windows, table: Tensor, row: int, ends: tuple[slice, slice], start: int, stop: int
) -> tuple[Tensor, Tensor]:
    """One window row of feature vectors, blended along x to (n, 2r+1, C), and its derivative by the fraction."""
    vectors = _take(table, window.row(row, start, stop))
    near, far = vectors[:, ends[0]], vectors[:, ends[1]]
    return _blend(near, far, window.right_share[start:stop].unsqueeze(2)), far - near


def _prepare(
    first: Tensor, second: Tensor, flow: Tensor, radius: int, dilation: int, stride: int
) -> tuple[_Windows, Tensor, Tensor]:
    dtype = working_dtype(first)
    base = _pixel_rows(first.to(dtype)) / first.shape[1]
    table = _pixel_rows(F.pad(second.to(dtype), [1] * 4))
    size = (second.shape[2], second.shape[3])
    return _windows(flow.to(dtype), size, radius, dilation, stride), base, table


def sampled_volume(first: Tensor, second: Tensor, flow: Tensor, *numbers: int) -> Tensor:
    """(B,C,h,w), (B,C,H,W), (B,2,h,w) -> (B,(2r+1)^2,h,w); pixel (i,j) of `first` lies at (stride*i, stride*j).

    The numbers are radius, dilation, stride, and whether absolute differences are measured instead of products. Built
    from differentiable steps only, so autograd gives its derivatives of any order.
    """
    return _sampled(False, first, second, flow, *numbers)


def sampled_volume_whole(first: Tensor, second: Tensor, flow: Tensor, *numbers: int) -> Tensor:
    """`sampled_volume` in one chunk, for exported graphs, whose number of nodes must not depend on the size."""
    return _sampled(True, first, second, flow, *numbers)


def _sampled(whole: bool, first: Tensor, second: Tensor, flow: Tensor, *numbers: int) -> Tensor:
    radius, dilation, stride, absolute = numbers
    window, base, table = _prepare(first, second, flow, radius, dilation, stride)
    ends = _ends(dilation, radius)
    channels = base.shape[1]
    parts = []
    pixels = base.shape[0]
    for start, stop in [(0, pixels)] if whole else _chunks(pixels, len(window.steps) * channels):
        down = window.down_share[start:stop].unsqueeze(2)
        if absolute:
            # `base` carries the 1/C, so the second map gets it as well.
            rows = [
                _blended_row(window, table, row, ends, start, stop)[0] / channels for row in range(len(window.steps))
            ]
            pixel = base[start:stop].unsqueeze(1)
            pairs = zip(rows[ends[0]], rows[ends[1]], strict=True)
            costs = [(_blend(near, far, down) - pixel).abs().sum(dim=2) for near, far in pairs]
            parts.append(torch.cat(costs, dim=1))
        else:
            dots = _dot_window(window, base, table, start, stop)
            across = _blend(dots[:, :, ends[0]], dots[:, :, ends[1]], window.right_share[start:stop].unsqueeze(2))
            parts.append(_blend(across[:, ends[0]], across[:, ends[1]], down).flatten(1))
    return _maps(torch.cat(parts), first.shape[0], first.shape[2], first.shape[3]).to(first.dtype)


def sampled_volume_backward(
    gradient: Tensor, first: Tensor, second: Tensor, flow: Tensor, *numbers: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to `first`, `second` and `flow`, chunk by chunk so that memory stays bounded."""
    radius, dilation, stride, absolute = numbers
    window, base, table = _prepare(first, second, flow, radius, dilation, stride)
    side = 2 * radius + 1
    incoming = _pixel_rows(gradient.to(base.dtype)).view(-1, side, side)
    to_base, to_table = torch.zeros_like(base), torch.zeros_like(table)
    to_flow = base.new_zeros(base.shape[0], 2)
    volumes = _Volumes(window, base, table, incoming, _ends(dilation, radius), (to_base, to_table, to_flow))
    step = _sad_chunk_backward if absolute else _dot_chunk_backward
    for start, stop in _chunks(base.shape[0], len(window.steps) * base.shape[1]):
        step(volumes, start, stop)
    # The fraction is flat where the flow was replaced: far away or NaN.
    batch, _, height, width = second.shape
    alive = (flow.abs() <= _far((height, width), radius, dilation)).to(base.dtype)
    to_second = _maps(to_table, batch, height + 2, width + 2)[..., 1:-1, 1:-1].clone()
    sizes = (first.shape[0], first.shape[2], first.shape[3])
    return (
        _maps(to_base / first.shape[1], *sizes).to(first.dtype),
        to_second.to(second.dtype),
        (_maps(to_flow, *sizes) * alive).to(flow.dtype),
    )


class _Volumes(NamedTuple):
    """What the gradients of all chunks are made from, and where they are added up."""

    window: _Windows
    base: Tensor  # (n,C) the first map over C
    table: Tensor  # the bordered second map
    incoming: Tensor  # (n,2r+1,2r+1)
    ends: tuple[slice, slice]
    results: tuple[Tensor, Tensor, Tensor]  # to base, table and flow


def _add_rows(to_table: Tensor, index: Tensor, values: Tensor) -> None:
    """Scatter (n,k,C) values to their rows of the bordered second map."""
    to_table.index_add_(0, index.flatten(), values.flatten(0, 1))


def _dot_chunk_backward(volumes: _Volumes, start: int, stop: int) -> None:
    window, base, table, incoming, ends, (to_base, to_table, to_flow) = volumes
    near, far = ends
    grad = incoming[start:stop]
    right, down = window.right_share[start:stop].unsqueeze(2), window.down_share[start:stop].unsqueeze(2)
    dots = _dot_window(window, base, table, start, stop)
    along_x = dots[:, :, far] - dots[:, :, near]
    across = _blend(dots[:, :, near], dots[:, :, far], right)
    to_flow[start:stop, 0] = (grad * _blend(along_x[:, near], along_x[:, far], down)).sum(dim=(1, 2))
    to_flow[start:stop, 1] = (grad * (across[:, far] - across[:, near])).sum(dim=(1, 2))
    # The adjoint of the two blends: weights of the window's dot products.
    to_across = torch.zeros_like(across)
    to_across[:, near] += grad * (1 - down)
    to_across[:, far] += grad * down
    to_dots = torch.zeros_like(dots)
    to_dots[:, :, near] += to_across * (1 - right)
    to_dots[:, :, far] += to_across * right
    vectors = base[start:stop].unsqueeze(1)
    for row in range(len(window.steps)):
        index = window.row(row, start, stop)
        weights = to_dots[:, row].unsqueeze(2)
        to_base[start:stop] += _take(table, index).mul_(weights).sum(dim=1)
        _add_rows(to_table, index, weights * vectors)


def _sad_chunk_backward(volumes: _Volumes, start: int, stop: int) -> None:
    window, base, table, incoming, ends, (to_base, to_table, to_flow) = volumes
    channels = base.shape[1]
    right, down = window.right_share[start:stop].unsqueeze(2), window.down_share[start:stop].unsqueeze(2)
    pixel = base[start:stop].unsqueeze(1) * channels
    count = len(window.steps)
    rows = [_blended_row(window, table, row, ends, start, stop) for row in range(count)]
    to_rows = [torch.zeros_like(rows[0][0]) for _ in range(count)]
    order = list(range(count))
    for index, (near, far) in enumerate(zip(order[ends[0]], order[ends[1]], strict=True)):
        sampled = _blend(rows[near][0], rows[far][0], down)
        # d|s - f| / ds, times the incoming gradient and the 1/C of the mean
        slope = torch.sign(sampled - pixel) * (incoming[start:stop, index] / channels).unsqueeze(2)
        to_base[start:stop] -= slope.sum(dim=1) * channels
        to_flow[start:stop, 0] += (slope * _blend(rows[near][1], rows[far][1], down)).sum(dim=(1, 2))
        to_flow[start:stop, 1] += (slope * (rows[far][0] - rows[near][0])).sum(dim=(1, 2))
        to_rows[near] += slope * (1 - down)
        to_rows[far] += slope * down
    for row in range(count):
        places = window.row(row, start, stop)
        to_vectors = to_rows[row].new_zeros(*places.shape, channels)
        to_vectors[:, ends[0]] += to_rows[row] * (1 - right)
        to_vectors[:, ends[1]] += to_rows[row] * right
        _add_rows(to_table, places, to_vectors)
