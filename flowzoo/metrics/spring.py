"""Spring (Mehl et al., CVPR 2023, and the benchmark's published evaluation code)."""

import numpy as np

from flowzoo.datasets.dataset import Truth
from flowzoo.metrics.errors import SPEEDS, end_point_error, length, outliers, tallies
from flowzoo.metrics.protocol import Protocol
from flowzoo.metrics.statistics import Metric, Statistics

PARTS = {
    "": "",
    "lowdetail": ", low detail",
    "highdetail": ", high detail",
    "rigid": ", rigid",
    "nonrigid": ", non-rigid",
    "matched": ", matched",
    "unmatched": ", unmatched",
    "notsky": ", not sky",
    "sky": ", sky",
    "s0_10": ", flow below 10 px",
    "s10_40": ", flow 10 to 40 px",
    "s40": ", flow from 40 px",
}
MAPS = {
    "detail": ("lowdetail", "highdetail"),
    "nonrigid": ("rigid", "nonrigid"),
    "unmatched": ("matched", "unmatched"),
    "sky": ("notsky", "sky"),
}
"""Mask -> the part where it does not hold and the part where it does."""
STEPS = 100
BOUNDS = np.arange(1, STEPS + 1) / 20.0
"""WAUC counts pixels below 0.05, 0.10, ..., 5 px, the first with weight 1, the last with 0.01."""


def _metrics(prefix: str, title: str, scale: float) -> tuple[Metric, ...]:
    return tuple(
        Metric(f"{prefix}_{part}" if part else prefix, title + words, scale=scale) for part, words in PARTS.items()
    )


class Spring(Protocol):
    """Four true vectors for every pixel of the image.

    A pixel's error is the smallest of its four; it counts where all four are known. The speed bands use the mean
    length of the four, the 5 % of the Fl rule the greatest. Predictions are at the image's size, 1920x1080. The
    server scores a secret subset of pixels in half precision; here all pixels count, in full precision.
    """

    metrics = (
        *_metrics("out_1px", "1px outliers", 100),
        *_metrics("epe", "end-point error", 1),
        *_metrics("fl_all", "outliers: > 3 px and > 5 %", 100),
        *_metrics("wauc", "WAUC", 100),
    )
    notes = ("the error of a pixel is the smallest over its four true vectors, as on the server; all pixels count",)

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """See the class."""
        corners = [(slice(row, None, 2), slice(column, None, 2)) for row in (0, 1) for column in (0, 1)]
        error, longest = np.full(truth.size, np.inf), np.zeros(truth.size)
        total, known = np.zeros(truth.size), np.ones(truth.size, bool)
        for corner in corners:
            this_length = length(truth.flow[corner])
            error = np.minimum(error, end_point_error(flow, truth.flow[corner]))
            longest = np.maximum(longest, this_length)
            total += this_length
            known &= truth.valid[corner]
        speed = total / len(corners)
        masks: dict[str, np.ndarray] = {"": known}
        for kind, (without, with_) in MAPS.items():
            if kind in truth.masks:
                masks |= {without: known & ~truth.masks[kind], with_: known & truth.masks[kind]}
        for name, (low, high) in SPEEDS.items():
            masks[name] = known & (speed >= low) & (speed < high)
        return {
            **tallies("out_1px", error > 1, masks),
            **tallies("epe", error, masks),
            **tallies("fl_all", outliers(error, longest), masks),
            **tallies("wauc", curve_score(error), masks),
        }


def curve_score(error: np.ndarray) -> np.ndarray:
    """A pixel's part in the weighted area under the curve, 0..1: the weights of the bounds that its error keeps."""
    kept = STEPS - np.searchsorted(BOUNDS, error.ravel(), side="left").reshape(error.shape)
    return kept * (kept + 1) / (STEPS * (STEPS + 1))
