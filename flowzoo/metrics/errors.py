"""Errors of single pixels, and tallies of them over masks."""

from collections.abc import Mapping

import numpy as np

from flowzoo.metrics.statistics import Tally

OUTLIER_PIXELS = 3.0
OUTLIER_FRACTION = 0.05
SPEEDS = {"s0_10": (0.0, 10.0), "s10_40": (10.0, 40.0), "s40": (40.0, np.inf)}
"""Sintel's bands of true flow length, lower bound included, in pixels."""
PCK_PIXELS = (1, 3, 5)
VALUES_AT_ONCE = 32768


def end_point_error(flow: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Euclidean distance of flow vectors (...,2), pixels, float64."""
    return _lengths(flow, truth)


def length(flow: np.ndarray) -> np.ndarray:
    """Length of flow vectors (...,2), pixels, float64."""
    return _lengths(flow, None)


def _lengths(flow: np.ndarray, minus: np.ndarray | None) -> np.ndarray:
    """Lengths of `flow - minus`, some rows at a time: the intermediate values stay in the processor's cache."""
    found = np.empty(flow.shape[:-1])
    step = max(1, VALUES_AT_ONCE * len(flow) // max(1, flow.size))
    for start in range(0, len(flow), step):
        rows = slice(start, start + step)
        vectors = flow[rows].astype(np.float64)
        if minus is not None:
            vectors -= minus[rows]
        vectors *= vectors
        np.sqrt(vectors[..., 0] + vectors[..., 1], out=found[rows])
    return found


def outliers(error: np.ndarray, true_length: np.ndarray) -> np.ndarray:
    """KITTI 2015's rule: error above 3 px *and* above 5 % of the true length, both strict."""
    return (error > OUTLIER_PIXELS) & (error > OUTLIER_FRACTION * true_length)


def tally(values: np.ndarray, mask: np.ndarray) -> Tally:
    """Sum of `values` (finite numbers, or truth values) where `mask` holds, and the number of these places.

    NumPy adds pairwise in an order that depends on the shape alone, so the sum is the same in every run. (A product
    with the mask is several times faster than taking the masked values out.)
    """
    total = int(np.count_nonzero(values & mask)) if values.dtype == bool else float((values * mask).sum())
    return total, int(np.count_nonzero(mask))


def tallies(prefix: str, values: np.ndarray, masks: Mapping[str, np.ndarray]) -> dict[str, Tally]:
    """One tally a mask, named PREFIX_MASK (PREFIX alone for the mask "")."""
    return {f"{prefix}_{name}" if name else prefix: tally(values, mask) for name, mask in masks.items()}


def within(error: np.ndarray, mask: np.ndarray) -> dict[str, Tally]:
    """pck_1, pck_3, pck_5: pixels whose error is at most that many pixels."""
    return {f"pck_{limit}": tally(error <= limit, mask) for limit in PCK_PIXELS}
