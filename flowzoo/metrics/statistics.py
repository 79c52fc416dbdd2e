"""Sums that add up exactly, whatever the order: what every metric is made of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Tally = tuple[float, int]
"""A sum over pixels and the number of these pixels."""

Statistics = Mapping[str, Tally]
"""What one pair contributes, by name."""


@dataclass(frozen=True)
class Entry:
    """One evaluated pair: its name, the group that some protocols average over, and its tallies."""

    name: str
    group: str
    statistics: Statistics


@dataclass(frozen=True)
class Metric:
    """One number of a benchmark.

    Attributes:
        name: key in the JSON file.
        title: what the table says.
        tally: name of the tally it is made of; "" = the same as `name`.
        how: "pooled" = over the pixels of all pairs; "image" = mean of the pairs' own means; "spread" = their
            standard deviation (of the population).
        scale: 1 for pixels, 100 for percent.
        empty: value where tallies exist but no pixel counts; None = no value.
    """

    name: str
    title: str
    tally: str = ""
    how: str = "pooled"
    scale: float = 1.0
    empty: float | None = None

    def value(self, entries: Sequence[Entry]) -> float | None:
        """The number over these pairs."""
        key = self.tally or self.name
        tallies = [entry.statistics[key] for entry in entries if key in entry.statistics]
        if self.how == "pooled":
            found = pooled(tallies)
        else:
            means = [total / count for total, count in tallies if count]
            found = mean(means) if self.how == "image" else spread(means)
        if found is None:
            return self.empty if tallies else None
        return self.scale * found

    @property
    def unit(self) -> str:
        """px or %."""
        return "px" if self.scale == 1 else "%"


def pooled(tallies: Sequence[Tally]) -> float | None:
    """Mean over all pixels of all pairs; None without any pixel."""
    count = sum(count for _, count in tallies)
    return math.fsum(total for total, _ in tallies) / count if count else None


def mean(values: Sequence[float]) -> float | None:
    """Mean, exactly rounded sum; None without any value."""
    return math.fsum(values) / len(values) if values else None


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation of the population; None without any value."""
    centre = mean(values)
    return None if centre is None else math.sqrt(math.fsum((value - centre) ** 2 for value in values) / len(values))
