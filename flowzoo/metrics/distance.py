"""Which pixels lie closer to a mask than some distances: exact, and fast."""

import math
from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np

FAR = 255


def closer_than(mask: np.ndarray, limits: Sequence[int]) -> list[np.ndarray]:
    """For every limit (whole pixels, at most 254): HxW bool, True where a True pixel of `mask` is strictly closer.

    Distance is Euclidean between pixel centres. A pixel is closer than r to the mask if some column dx away, |dx| < r,
    holds a pixel of the mask within dy rows, dx*dx + dy*dy < r*r; the vertical distances are found once.
    """
    # Columns become rows, so that a shift by dx is a slice, and the union of shifted sets works on eight pixels a byte.
    columns = np.ascontiguousarray(_vertical_distance(mask).T)
    return [np.ascontiguousarray(_within(columns, limit).T) for limit in limits]


def _vertical_distance(mask: np.ndarray) -> np.ndarray:
    """HxW uint8: rows to the nearest True pixel of the same column; FAR where it is that far or there is none."""
    distance = np.where(mask, np.uint8(0), np.uint8(FAR))
    for near, row in [*pairwise(distance), *pairwise(distance[::-1])]:
        np.minimum(row, np.minimum(near, FAR - 1) + np.uint8(1), out=row)
    return distance


def _within(columns: np.ndarray, limit: int) -> np.ndarray:
    """WxH bool from the WxH vertical distances."""
    width, height = columns.shape
    reached = np.zeros((width, -(-height // 8)), np.uint8)

    def largest_dy(shift: int) -> int:
        return math.isqrt(limit * limit - shift * shift - 1)

    for bound, shifts in groupby(range(min(limit, width)), largest_dy):
        near = np.packbits(columns <= bound, axis=1)
        for shift in shifts:
            reached[: width - shift] |= near[shift:]
            reached[shift:] |= near[: width - shift]
    return np.unpackbits(reached, axis=1, count=height).view(bool)
