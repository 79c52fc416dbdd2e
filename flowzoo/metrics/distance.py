"""Which pixels lie closer to a mask than some distances: exact, and fast."""

import math
from collections.abc import Sequence

import numpy as np

FAR = 255


def closer_than(mask: np.ndarray, limits: Sequence[int]) -> list[np.ndarray]:
    """For every limit (whole pixels, at most 254): HxW bool, True where a True pixel of `mask` is strictly closer.

    Distance is Euclidean between pixel centres. A pixel is closer than r to the mask if some column dx away, |dx| < r,
    holds a pixel of the mask within dy rows, dx*dx + dy*dy < r*r; the vertical distances are found once.
    """
    vertical = _vertical_distance(mask)
    return [_disk(vertical, limit) for limit in limits]


def _vertical_distance(mask: np.ndarray) -> np.ndarray:
    """HxW uint8: rows to the nearest True pixel of the same column; FAR where it is that far or there is none."""
    height = mask.shape[0]
    rows = np.arange(height, dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(mask, rows, -height - FAR), axis=0)
    below = np.minimum.accumulate(np.where(mask, rows, 2 * height + FAR)[::-1], axis=0)[::-1]
    distance: np.ndarray = np.minimum(np.minimum(rows - above, below - rows), FAR).astype(np.uint8)
    return distance


def _disk(vertical: np.ndarray, limit: int) -> np.ndarray:
    width = vertical.shape[1]
    reached = np.zeros(vertical.shape, bool)
    for shift in range(-limit + 1, limit):
        if abs(shift) >= width:
            continue
        # The largest whole dy with dy*dy < r*r - dx*dx.
        bound = math.isqrt(limit * limit - shift * shift - 1)
        here = slice(max(0, -shift), width - max(0, shift))
        there = slice(max(0, shift), width - max(0, -shift))
        reached[:, here] |= vertical[:, there] <= bound
    return reached
