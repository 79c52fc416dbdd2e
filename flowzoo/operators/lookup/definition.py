"""RAFT's correlation in plain torch, in its two forms: the definition of `lookup` and of its gradients.

With S_0 the second image's features and S_{l+1} the 2x2 means of S_l (an odd last row or column is left out), level l
of a pixel p that looks at c(p) holds, for all offsets (a, b) in -r..r,

    <first(p), S_l(c(p) / 2^l + (a, b))> / sqrt(C)

with S_l read bilinearly and zero outside, each neighbour by itself. Dot products are linear, so they may be taken at
whole pixels first and be blended 2x2 after: of the volume of all pairs and its 2x2 means ("stored"), or of the
(2r+2)^2 features around where a pixel looks ("on demand").

Windows are arranged [column][row]: the channel l*(2r+1)^2 + (a+r)*(2r+1) + (b+r) has the horizontal offset a as the
slow one, as all published weights expect.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators.precision import working_dtype

Size = tuple[int, int]

_CHUNK = 1 << 20
"""Numbers that are gathered at a time on demand: bounds the memory."""


def level_sizes(size: Size, levels: int) -> list[Size]:
    """(height, width) of the levels; both are 0 where nothing is left of one of them."""
    sizes = [size]
    while len(sizes) < levels:
        height, width = sizes[-1][0] // 2, sizes[-1][1] // 2
        sizes.append((height, width) if height and width else (0, 0))
    return sizes


def pooled(maps: Tensor, levels: int) -> list[Tensor]:
    """(N,C,H,W) and its repeated 2x2 means."""
    result = [maps]
    for size in level_sizes((maps.shape[2], maps.shape[3]), levels)[1:]:
        result.append(F.avg_pool2d(result[-1], 2) if size[0] else maps.new_zeros((*maps.shape[:2], 0, 0)))
    return result


class _Windows(NamedTuple):
    """Where n pixels look on one level, k = 2r+2 columns of k rows each."""

    places: Tensor  # (n,k,k) index of each window pixel in the level, row by row; of any pixel where it is outside
    inside: Tensor  # (n,k,k) whether it is inside
    right: Tensor  # (n,1,1) the fraction of the coordinate, x
    down: Tensor  # (n,1,1) y


def _windows(coordinates: Tensor, level: int, size: Size, radius: int) -> _Windows:
    """`coordinates` (n,2), x then y, pixels of level 0."""
    height, width = size
    # Nothing as far as this is on the map; NaN fails the comparison and goes there too.
    far = torch.sym_float(height + width + 2 * radius + 4)
    centre = coordinates / 2**level
    centre = torch.where(centre.abs() <= far, centre, far)
    whole = centre.detach().floor()
    share = (centre - whole).view(-1, 2, 1, 1)
    steps = torch.arange(-radius, radius + 2, device=coordinates.device)
    column = whole[:, 0].long().view(-1, 1, 1) + steps.view(-1, 1)
    row = whole[:, 1].long().view(-1, 1, 1) + steps
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    places = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return _Windows(places, inside, share[:, 0], share[:, 1])


def _blended(dots: Tensor, windows: _Windows) -> Tensor:
    """(n,k,k) dot products at whole pixels -> (n,(k-1)^2)."""
    across = dots[:, :-1] + windows.right * (dots[:, 1:] - dots[:, :-1])
    return (across[:, :, :-1] + windows.down * (across[:, :, 1:] - across[:, :, :-1])).flatten(1)


def _rows(maps: Tensor) -> Tensor:
    """(B,C,H,W) -> (B*H*W,C), contiguous."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).contiguous()


def _maps(rows: Tensor, batch: int, size: Size) -> Tensor:
    """(B*H*W,C) -> (B,C,H,W) in channels-last memory layout."""
    return rows.view(batch, *size, rows.shape[1]).permute(0, 3, 1, 2)


def volumes(first: Tensor, second: Tensor, levels: int) -> list[Tensor]:
    """The pyramid of all pairs: (B*h*w,H_l*W_l) for every level; its memory grows with the square of the pixels."""
    dtype = working_dtype(first)
    channels = first.shape[1]
    pairs = torch.matmul(first.to(dtype).flatten(2).transpose(1, 2), second.to(dtype).flatten(2)) / channels**0.5
    return [level.flatten(1) for level in pooled(pairs.view(-1, 1, *second.shape[2:]), levels)]


def read_volumes(pyramid: list[Tensor], coordinates: Tensor, size: Size, radius: int) -> Tensor:
    """The stored form: `volumes` of second maps of `size` at `coordinates` (B,2,h,w) -> (B,levels*(2r+1)^2,h,w)."""
    batch, _, *grid = coordinates.shape
    points = _rows(coordinates.to(pyramid[0].dtype))
    parts = []
    for level, (pairs, inner) in enumerate(zip(pyramid, level_sizes(size, len(pyramid)), strict=True)):
        if not inner[0]:
            parts.append(points.new_zeros(len(points), (2 * radius + 1) ** 2))
            continue
        windows = _windows(points, level, inner, radius)
        dots = pairs.gather(1, windows.places.flatten(1)).view_as(windows.places)
        parts.append(_blended(torch.where(windows.inside, dots, 0.0), windows))
    return _maps(torch.cat(parts, dim=1), batch, (grid[0], grid[1]))


def packed(second: Tensor, levels: int) -> Tensor:
    """The second map and its repeated 2x2 means, pixel by pixel, one level behind the other: (B,N,C) contiguous."""
    rows = [level.flatten(2).transpose(1, 2) for level in pooled(second, levels)]
    return torch.cat(rows, dim=1).contiguous()


class _Level(NamedTuple):
    """One level's rows of a packed table, and where in the table they are."""

    number: int
    size: Size
    begin: int

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


def _levels(size: Size, levels: int) -> Iterator[_Level]:
    begin = 0
    for number, inner in enumerate(level_sizes(size, levels)):
        yield _Level(number, inner, begin)
        begin += inner[0] * inner[1]


def _chunks(pixels: int, numbers_per_pixel: int) -> Iterator[slice]:
    length = max(1, _CHUNK // numbers_per_pixel)
    return (slice(start, start + length) for start in range(0, pixels, length))


def _gathered(table: Tensor, windows: _Windows) -> Tensor:
    """Rows of one level of one image (pixels,C) in all windows: (n,k*k,C), zero outside."""
    vectors = table.index_select(0, windows.places.flatten()).view(len(windows.places), -1, table.shape[1])
    return vectors * windows.inside.flatten(1).unsqueeze(2)


def lookup(first: Tensor, table: Tensor, coordinates: Tensor, *numbers: int) -> Tensor:
    """The on-demand form, built from differentiable steps only.

    Args:
        first: (B,C,h,w).
        table: (B,N,C), `packed` of the second map of height x width.
        coordinates: (B,2,h,w), x then y, pixels of the second map.
        numbers: height, width, radius, levels.

    Returns:
        (B,levels*(2r+1)^2,h,w), in channels-last memory layout.
    """
    height, width, radius, levels = numbers
    dtype = working_dtype(first)
    batch, channels, *grid = first.shape
    base, points = _rows(first.to(dtype)) / channels**0.5, _rows(coordinates.to(dtype))
    side, pixels = 2 * radius + 1, grid[0] * grid[1]
    images = []
    for image in range(batch):
        parts = []
        for part in _chunks(pixels, (side + 1) ** 2 * channels):
            vectors, at = base[image * pixels :][:pixels][part], points[image * pixels :][:pixels][part]
            costs = []
            for level in _levels((height, width), levels):
                if not level.pixels:
                    costs.append(vectors.new_zeros(len(vectors), side * side))
                    continue
                windows = _windows(at, level.number, level.size, radius)
                rows = table[image, level.begin : level.begin + level.pixels].to(dtype)
                dots = (_gathered(rows, windows) @ vectors.unsqueeze(2)).view_as(windows.places)
                costs.append(_blended(dots, windows))
            parts.append(torch.cat(costs, dim=1))
        images.append(torch.cat(parts))
    result = torch.cat(images) if images else base.new_zeros(0, levels * side * side)
    return _maps(result, batch, (grid[0], grid[1])).to(first.dtype)


def lookup_backward(
    gradient: Tensor, first: Tensor, table: Tensor, coordinates: Tensor, *numbers: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to `first`, `table` and `coordinates`, chunk by chunk so that memory stays bounded.

    The last of `numbers`, behind those of `lookup`, says whether the gradient to the coordinates is wanted; where it is
    not, a faster form may leave it zero.
    """
    height, width, radius, levels, _ = numbers
    dtype = working_dtype(first)
    batch, channels, *grid = first.shape
    size = (grid[0], grid[1])
    base, points = _rows(first.to(dtype)) / channels**0.5, _rows(coordinates.to(dtype))
    side, pixels = 2 * radius + 1, grid[0] * grid[1]
    incoming = _rows(gradient.to(dtype)).view(-1, levels, side, side)
    to_base, to_points = torch.zeros_like(base), torch.zeros_like(points)
    to_table = torch.zeros_like(table, dtype=dtype)
    for image in range(batch):
        for part in _chunks(pixels, (side + 1) ** 2 * channels):
            here = slice(image * pixels + part.start, image * pixels + min(part.stop, pixels))
            for level in _levels((height, width), levels):
                if not level.pixels:
                    continue
                windows = _windows(points[here], level.number, level.size, radius)
                place = slice(level.begin, level.begin + level.pixels)
                vectors = _gathered(table[image, place].to(dtype), windows)
                weights, along = _window_gradient(incoming[here, level.number], vectors, base[here], windows)
                to_points[here] += along / 2**level.number
                to_base[here] += (weights.unsqueeze(1) @ vectors).squeeze(1)
                spread = (weights * windows.inside.flatten(1)).unsqueeze(2) * base[here].unsqueeze(1)
                to_table[image, place].index_add_(0, windows.places.flatten(), spread.flatten(0, 1))
    return (
        _maps(to_base / channels**0.5, batch, size).to(first.dtype),
        to_table.to(table.dtype),
        _maps(to_points, batch, size).contiguous().to(coordinates.dtype),
    )


def _window_gradient(gradient: Tensor, vectors: Tensor, base: Tensor, windows: _Windows) -> tuple[Tensor, Tensor]:
    """Of one level: what each window pixel's dot product weighs (n,k*k), and the gradient to the fractions (n,2)."""
    dots = (vectors @ base.unsqueeze(2)).view_as(windows.places)
    across = dots[:, :-1] + windows.right * (dots[:, 1:] - dots[:, :-1])
    to_down = (gradient * (across[:, :, 1:] - across[:, :, :-1])).sum(dim=(1, 2))
    to_across = F.pad(gradient * (1 - windows.down), (0, 1)) + F.pad(gradient * windows.down, (1, 0))
    to_right = (to_across * (dots[:, 1:] - dots[:, :-1])).sum(dim=(1, 2))
    to_dots = F.pad(to_across * (1 - windows.right), (0, 0, 0, 1)) + F.pad(to_across * windows.right, (0, 0, 1, 0))
    return to_dots.flatten(1), torch.stack([to_right, to_down], dim=1)
