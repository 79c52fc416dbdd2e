"""Frames too large for memory: overlapping tiles whose flows are blended."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class TilePlan:
    """Tiles of one size that cover a frame.

    Attributes:
        frame: (height, width) of the frame; a multiple of the network's own stride.
        tile: (height, width) of every tile, likewise.
        tops, lefts: first row and column of the tiles.
    """

    frame: Size
    tile: Size
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.tops) * len(self.lefts)

    def corners(self) -> Iterator[tuple[int, int]]:
        """Top left corner of every tile, row by row."""
        return ((top, left) for top in self.tops for left in self.lefts)


def plan_tiles(frame: Size, multiple: int, pixels: int) -> TilePlan:
    """The fewest equal tiles of at most `pixels` pixels each, overlapping by at least a quarter of a tile.

    Args:
        frame: (height, width); both multiples of `multiple`.
        multiple: tile sides and positions are multiples of this, so that every tile sees the pyramid grid of the
            whole frame.
        pixels: upper bound for one tile; tiles never get smaller than 4 x 4 multiples.
    """
    least = 4 * multiple
    best: TilePlan | None = None
    for rows in range(1, max(1, frame[0] // multiple) + 1):
        for columns in range(1, max(1, frame[1] // multiple) + 1):
            if best is not None and rows * columns >= best.count:
                break
            tops, height = _positions(frame[0], rows, multiple)
            lefts, width = _positions(frame[1], columns, multiple)
            if height * width <= pixels or (height <= least and width <= least):
                best = TilePlan(frame, (height, width), tops, lefts)
    assert best is not None, "a plan of smallest tiles always fits"
    return best


def _positions(side: int, count: int, multiple: int) -> tuple[tuple[int, ...], int]:
    """Starts and length of `count` equal tiles along a side, neighbours sharing at least a quarter of a tile."""
    if count == 1:
        return (0,), side
    length = side / (1 + 0.75 * (count - 1))
    length = min(side, -(-int(length + 0.999) // multiple) * multiple)
    units = (side - length) // multiple
    return tuple(multiple * (units * i // (count - 1)) for i in range(count)), length


def blend_tiles(plan: TilePlan, compute: Callable[[int, int, int, int], Tensor], scale: int = 1) -> Tensor:
    """Weighted mean of the tiles' maps.

    Args:
        plan: where the tiles lie.
        compute: called with top, left, height, width; returns (B,C,height*scale,width*scale).
        scale: size of the maps over that of the frame.

    Returns:
        (B,C,H*scale,W*scale). Weights fall linearly to the tile's border, so that seams do not show.
    """
    height, width = (side * scale for side in plan.tile)
    total = weights = torch.zeros(())
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width
    ramp = torch.minimum(rows, 1 - rows).clamp(max=0.25).view(-1, 1) * torch.minimum(columns, 1 - columns).clamp(
        max=0.25
    )
    for top, left in plan.corners():
        part = compute(top, left, *plan.tile)
        if (top, left) == (0, 0):
            frame = [side * scale for side in plan.frame]
            total, weights = part.new_zeros((*part.shape[:2], *frame)), part.new_zeros(frame)
            ramp = ramp.to(part)
        down, right = slice(top * scale, top * scale + height), slice(left * scale, left * scale + width)
        total[..., down, right] += part * ramp
        weights[down, right] += ramp
    return total / weights
