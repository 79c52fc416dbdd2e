"""Geometric and semantic matching: HPatches, ETH3D and MegaDepth as GLU-Net and GOCor score them, TSS."""

from collections.abc import Sequence

import numpy as np

from flowzoo.datasets.dataset import Truth
from flowzoo.metrics.errors import end_point_error, tally, within
from flowzoo.metrics.protocol import Protocol
from flowzoo.metrics.statistics import Entry, Metric, Statistics, mean

FAR_LIMITS = (1, 2, 3, 5, 8, 10, 13, 22, 36)
ALPHA = 0.05


def _errors(flow: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """End-point errors where they are asked for, and which of them count."""
    if truth.points is not None:
        flow = flow[truth.points[0], truth.points[1]]
    return end_point_error(flow, truth.flow), truth.valid


class HPatches(Protocol):
    """AEPE is the mean of the pairs' own, PCK is over the pixels of all pairs; both with the pairs' spread."""

    metrics = (
        Metric("epe", "AEPE, mean of the pairs' own", how="image"),
        *(Metric(f"pck_{limit}", f"PCK-{limit}, all pixels", scale=100) for limit in (1, 3, 5)),
        Metric("epe_std", "AEPE, standard deviation", "epe", "spread"),
        *(
            Metric(f"pck_{limit}_image", f"PCK-{limit}, mean of the pairs'", f"pck_{limit}", "image", 100)
            for limit in (1, 3, 5)
        ),
        *(
            Metric(f"pck_{limit}_std", f"PCK-{limit}, standard deviation", f"pck_{limit}", "spread", 100)
            for limit in (1, 3, 5)
        ),
    )

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """See the class."""
        error, known = _errors(flow, truth)
        return {"epe": tally(error, known), **within(error, known)}

    def summarise(self, entries: Sequence[Entry]) -> dict[str, float | None]:
        """The numbers, and AEPE and PCK by view."""
        values = super().summarise(entries)
        for group in sorted({entry.group for entry in entries}) if len(entries) > 1 else ():
            members = [entry for entry in entries if entry.group == group]
            for metric in self.metrics[:4]:
                values[f"{metric.name}_{group}"] = metric.value(members)
        return values


class Eth3d(Protocol):
    """Mean of the pairs' own, then of the scenes, by interval; the headline is the mean of the intervals."""

    metrics = (
        Metric("epe", "AEPE", how="image"),
        *(Metric(f"pck_{limit}", f"PCK-{limit}", how="image", scale=100) for limit in (1, 3, 5)),
        Metric("epe_std", "AEPE, standard deviation over pairs", "epe", "spread"),
        *(
            Metric(f"pck_{limit}_std", f"PCK-{limit}, standard deviation over pairs", f"pck_{limit}", "spread", 100)
            for limit in (1, 3, 5)
        ),
    )

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """See the class."""
        error, known = _errors(flow, truth)
        return {"epe": tally(error, known), **within(error, known)}

    def summarise(self, entries: Sequence[Entry]) -> dict[str, float | None]:
        """See the class."""
        values = super().summarise(entries)
        scenes: dict[str, list[Entry]] = {}
        for entry in entries:
            scenes.setdefault(entry.group, []).append(entry)
        rates = sorted({int(group.partition("/")[0]) for group in scenes})
        for metric in self.metrics[:4]:
            of_rate = {}
            for rate in rates:
                found = [metric.value(members) for group, members in scenes.items() if group.startswith(f"{rate}/")]
                of_rate[rate] = mean([value for value in found if value is not None])
            values[metric.name] = mean([value for value in of_rate.values() if value is not None])
            if len(entries) > 1:
                values |= {f"{metric.name}_rate_{rate}": value for rate, value in of_rate.items()}
        return values


class MegaDepth(Protocol):
    """PCK at nine thresholds over all matches of the set; AEPE is the mean of the pairs' own."""

    metrics = (
        *(Metric(f"pck_{limit}", f"PCK-{limit}, all matches", scale=100) for limit in FAR_LIMITS),
        Metric("epe", "AEPE, mean of the pairs' own", how="image"),
        Metric("epe_std", "AEPE, standard deviation", "epe", "spread"),
        *(
            Metric(f"pck_{limit}_std", f"PCK-{limit}, standard deviation", f"pck_{limit}", "spread", 100)
            for limit in (1, 3, 5)
        ),
    )

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """See the class."""
        error, known = _errors(flow, truth)
        return {"epe": tally(error, known), **{f"pck_{limit}": tally(error <= limit, known) for limit in FAR_LIMITS}}


class Tss(Protocol):
    """PCK at 0.05 times the longer side of the image that is matched into: per image, per source, then over sources."""

    metrics = (
        Metric("pck_alpha_05", "PCK at alpha 0.05", how="image", scale=100),
        Metric("pck_alpha_05_std", "PCK, standard deviation over images", "pck_alpha_05", "spread", 100),
        Metric("epe", "AEPE, mean of the pairs' own", how="image"),
    )
    notes = ("the network sees the images as they are: no flipped second estimate for mirrored objects",)

    def measure(self, flow: np.ndarray, valid: np.ndarray, truth: Truth) -> Statistics:
        """See the class."""
        error, known = _errors(flow, truth)
        return {"pck_alpha_05": tally(error <= ALPHA * truth.length, known), "epe": tally(error, known)}

    def summarise(self, entries: Sequence[Entry]) -> dict[str, float | None]:
        """See the class."""
        values = super().summarise(entries)
        groups = sorted({entry.group for entry in entries})
        of_group = {
            group: self.metrics[0].value([entry for entry in entries if entry.group == group]) for group in groups
        }
        values["pck_alpha_05"] = mean([value for value in of_group.values() if value is not None])
        if len(entries) > 1:
            values |= {f"pck_alpha_05_{group}": value for group, value in of_group.items()}
        return values
