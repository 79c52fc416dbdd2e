"""Errors of single pixels, and tallies of them over masks."""

from collections.abc import Mapping

import numpy as np

from flowzoo.metrics.statistics import Tally

OUTLIER_PIXELS = 3.0
OUTLIER_FRACTION = 0.05
SPEEDS = {"s0_10": (0.0, 10.0), "s10_40": (10.0, 40.0), "s40": (40.0, np.inf)}
"""Sintel's bands of true flow length, lower bound included, in pixels."""
PCK_PIXELS = (1, 3, 5)


def end_point_error(flow: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Euclidean distance of flow vectors (...,2), pixels, float64."""
    difference = flow.astype(np.float64)
    difference -= truth
    difference *= difference
    return np.sqrt(difference[..., 0] + difference[..., 1])


def length(flow: np.ndarray) -> np.ndarray:
    """Length of flow vectors (...,2), pixels, float64."""
    squared = np.square(flow, dtype=np.float64)
    return np.sqrt(squared[..., 0] + squared[..., 1])


def outliers(error: np.ndarray, true_length: np.ndarray) -> np.ndarray:
    """KITTI 2015's rule: error above 3 px *and* above 5 % of the true length, both strict."""
    return (error > OUTLIER_PIXELS) & (error > OUTLIER_FRACTION * true_length)


def tally(values: np.ndarray, mask: np.ndarray) -> Tally:
    """Sum of `values` (numbers or truth values) where `mask` holds, and the number of these places."""
    chosen = values[mask]
    total = int(np.count_nonzero(chosen)) if chosen.dtype == bool else float(chosen.sum(dtype=np.float64))
    return total, int(chosen.size)


def tallies(prefix: str, values: np.ndarray, masks: Mapping[str, np.ndarray]) -> dict[str, Tally]:
    """One tally a mask, named PREFIX_MASK (PREFIX alone for the mask "")."""
    return {f"{prefix}_{name}" if name else prefix: tally(values, mask) for name, mask in masks.items()}


def within(error: np.ndarray, mask: np.ndarray) -> dict[str, Tally]:
    """pck_1, pck_3, pck_5: pixels whose error is at most that many pixels."""
    chosen = error[mask]
    return {f"pck_{limit}": (int(np.count_nonzero(chosen <= limit)), int(chosen.size)) for limit in PCK_PIXELS}
