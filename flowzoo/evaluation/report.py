"""What an evaluation found, and its JSON and CSV forms."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowzoo.evaluation.loop import Scored, error_of
from flowzoo.files.atomic import replacing
from flowzoo.metrics.protocol import Protocol
from flowzoo.metrics.statistics import Entry


@dataclass
class Report:
    """Result of one evaluation.

    Attributes:
        dataset, subset: what was scored.
        model, weights: what predicted; None where files were scored.
        pairs: number of scored pairs; `expected` is the official number.
        metrics: the benchmark's numbers by name; None where no pixel counts.
        titles: name, title and unit of every metric, in the table's order.
        per_pair: name and numbers of every pair, in the data set's order.
        worst: names of the pairs with the largest end-point error, the largest first.
        seconds_per_pair: time of the network alone, None where files were scored.
        notes: what a reader of the numbers must know.
        predictions: folder of the files that were scored, if there are any.
        counted: what `pairs` counts: "pairs", or "frames" of clips.
    """

    dataset: str
    subset: str
    model: str | None
    weights: str | None
    pairs: int
    expected: int
    metrics: dict[str, float | None]
    titles: list[tuple[str, str, str]]
    per_pair: list[dict[str, Any]]
    worst: list[str] = field(default_factory=list)
    seconds_per_pair: float | None = None
    notes: list[str] = field(default_factory=list)
    predictions: str | None = None
    counted: str = "pairs"

    def as_json(self) -> str:
        """The contract's keys, and a few more."""
        keys = ["dataset", "subset", "model", "weights", "predictions", "pairs", "expected", "metrics", "per_pair"]
        keys += ["worst", "seconds_per_pair", "notes"]
        return json.dumps({key: getattr(self, key) for key in keys}, indent=1, allow_nan=False) + "\n"

    def as_csv(self) -> str:
        """One line a pair, then one, named "all", for the data set; numbers with all their digits."""
        names = [name for name, *_ in self.titles]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", *names])
        for row in [*self.per_pair, {"name": "all", **self.metrics}]:
            writer.writerow([row["name"], *("" if row.get(name) is None else repr(row[name]) for name in names)])
        return text.getvalue()


def summarise(protocol: Protocol, results: Sequence[Scored], worst: int) -> dict[str, Any]:
    """The parts of a `Report` that follow from the pairs' tallies; `results` in any order."""
    entries: list[Entry] = [
        result.entry for result in sorted(results, key=lambda result: result.index) if result.entry is not None
    ]
    metrics = protocol.summarise(entries) if entries else {}
    errors = [(error_of(entry), entry.name) for entry in entries]
    known = [(error, name) for error, name in errors if error is not None]
    return {
        "metrics": metrics,
        "titles": protocol.titles(metrics),
        "per_pair": [{"name": entry.name, **_of_one(protocol, entry)} for entry in entries],
        "worst": [name for _, name in sorted(known, key=lambda item: -item[0])[:worst]],
    }


def _of_one(protocol: Protocol, entry: Entry) -> dict[str, float | None]:
    """A single pair's numbers; a spread over one pair says nothing."""
    values = protocol.summarise([entry])
    return {name: value for name, value in values.items() if not name.endswith("_std")}


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, complete or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
