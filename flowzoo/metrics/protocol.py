"""What every protocol is: tallies of one pair, and numbers made of many pairs' tallies."""

from collections.abc import Sequence

import numpy as np

from flowzoo.datasets.dataset import Truth
from flowzoo.metrics.errors import SPEEDS, end_point_error, length, outliers, tallies, tally, within
from flowzoo.metrics.statistics import Entry, Metric, Statistics


class Protocol:
    """How a benchmark scores.

    Attributes:
        metrics: its numbers, the most important first.
        sparse: predictions may lack pixels; the protocol fills them.
        notes: what a reader of the numbers must know.
    """

    metrics: tuple[Metric, ...] = ()
    sparse: bool = False
    notes: tuple[str, ...] = ()

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """Tallies of one pair: `flow` HxWx2 float32 and `valid` HxW bool are the prediction."""
        raise TypeError(f"{type(self).__name__} does not measure")

    def summarise(self, entries: Sequence[Entry]) -> dict[str, float | None]:
        """The numbers over these pairs, by name; None where no pixel counts."""
        return {metric.name: metric.value(entries) for metric in self.metrics}

    def titles(self, values: dict[str, float | None]) -> list[tuple[str, str, str]]:
        """Name, title and unit of every number in `values`, in the table's order."""
        known = {metric.name: metric for metric in self.metrics}
        return [
            (name, known[name].title, known[name].unit) if name in known else (name, *self.further_title(name))
            for name in values
        ]

    def further_title(self, name: str) -> tuple[str, str]:
        """Title and unit of a number that `summarise` adds."""
        return name, "px" if name.startswith("epe") else "%"


def accuracy_metrics(how: str = "pooled") -> tuple[Metric, ...]:
    """The numbers that every dense data set has; `how` is for the end-point error."""
    return (
        Metric("epe", "end-point error", how=how),
        Metric("fl_all", "outliers: > 3 px and > 5 %", scale=100),
        *(Metric(f"pck_{limit}", f"within {limit} px", scale=100) for limit in (1, 3, 5)),
    )


def speed_metrics() -> tuple[Metric, ...]:
    """End-point error by the length of the true flow."""
    return (
        Metric("epe_s0_10", "true flow below 10 px"),
        Metric("epe_s10_40", "true flow 10 to 40 px"),
        Metric("epe_s40", "true flow from 40 px"),
    )


class Dense(Protocol):
    """The common numbers over all known pixels: FlyingChairs, FlyingThings3D, HD1K, Middlebury, pairs.

    With `per_image` the end-point error is the mean of the images' own, for sets whose images differ in size or in
    the number of known pixels.
    """

    def __init__(self, per_image: bool = False) -> None:
        self.metrics = accuracy_metrics("image" if per_image else "pooled") + speed_metrics()

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """See the class."""
        error, true_length = end_point_error(flow, truth.flow), length(truth.flow)
        return common_tallies(error, true_length, truth.valid)


def common_tallies(error: np.ndarray, true_length: np.ndarray, known: np.ndarray) -> dict[str, tuple[float, int]]:
    """epe, fl_all, pck_* and epe_s* over the known pixels."""
    speeds = {name: known & (true_length >= low) & (true_length < high) for name, (low, high) in SPEEDS.items()}
    return {
        "epe": tally(error, known),
        "fl_all": tally(outliers(error, true_length), known),
        **within(error, known),
        **tallies("epe", error, speeds),
    }
