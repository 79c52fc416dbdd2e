"""MPI-Sintel (Butler et al., ECCV 2012, section 5, and the table of the benchmark's page)."""

import numpy as np

from flowzoo.datasets.dataset import Truth
from flowzoo.metrics.distance import closer_than
from flowzoo.metrics.errors import end_point_error, length, tallies
from flowzoo.metrics.protocol import Protocol, accuracy_metrics, common_tallies, speed_metrics
from flowzoo.metrics.statistics import Metric, Statistics


class Sintel(Protocol):
    """All pixels count unless `mask_invalid`.

    "Unmatched" are the pixels of the official occlusion mask (hidden in the next frame, or outside it). The bands by
    distance hold matched pixels only, by their distance to the nearest unmatched pixel: d0-10 is closer than 10 px.
    That the benchmark's bands are over matched pixels follows from its table, where all three can lie below "EPE all"
    by more than pixels beyond 140 px could make up for.
    """

    metrics = (
        *accuracy_metrics(),
        Metric("epe_matched", "visible in both frames"),
        Metric("epe_unmatched", "hidden in the second"),
        Metric("epe_d0_10", "matched, < 10 px from hidden ones"),
        Metric("epe_d10_60", "matched, 10 to 60 px from them"),
        Metric("epe_d60_140", "matched, 60 to 140 px from them"),
        *speed_metrics(),
    )

    def __init__(self, mask_invalid: bool = False) -> None:
        self.mask_invalid = mask_invalid
        counted = (
            "pixels of the official invalid mask are left out" if mask_invalid else "all pixels count, invalid ones too"
        )
        self.notes = (
            f"{counted}; d0-10, d10-60 and d60-140 are computed from the official occlusion mask: the server's own "
            "distance maps are not public",
        )

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """See the class."""
        error, true_length = end_point_error(flow, truth.flow), length(truth.flow)
        known = truth.valid
        if self.mask_invalid and "invalid" in truth.masks:
            known = known & ~truth.masks["invalid"]
        statistics = common_tallies(error, true_length, known)
        if "occlusion" in truth.masks:
            hidden = truth.masks["occlusion"]
            near, middle, far = closer_than(hidden, (10, 60, 140))
            matched = known & ~hidden
            bands = {"d0_10": near, "d10_60": middle & ~near, "d60_140": far & ~middle}
            statistics |= tallies("epe", error, {"matched": matched, "unmatched": known & hidden})
            statistics |= tallies("epe", error, {name: matched & band for name, band in bands.items()})
        return statistics
