"""Measured times of the zoo's networks, from `weights/speed.toml`, and accuracy against them. No torch."""

import tomllib
from dataclasses import dataclass
from typing import Any

from flowzoo.assets import asset_path
from flowzoo.charts import Chart, Series
from flowzoo.checkpoints.index import entries
from flowzoo.errors import InputError


@dataclass(frozen=True)
class Speed:
    """Time of one pair.

    Attributes:
        model: name of the network.
        precision: of its convolutions.
        seconds: lowest and highest of the runs.
    """

    model: str
    precision: str
    seconds: tuple[float, float]

    def shown(self) -> str:
        """0.66 to 0.68."""
        low, high = self.seconds
        return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"


def _file() -> dict[str, Any]:
    return tomllib.loads(asset_path("weights", "speed.toml").read_text(encoding="utf-8"))


def speeds() -> list[Speed]:
    """All that were measured, in the file's order."""
    return [
        Speed(row["model"], row.get("precision", "float32"), (row["seconds"][0], row["seconds"][1]))
        for row in _file()["speed"]
    ]


def conditions() -> str:
    """What the times are of, in words."""
    facts = _file()["conditions"]
    return f"seconds for a {facts['size']} pair on {facts['machine']} ({facts['command']})"


def accuracy_chart(dataset: str, metric: str = "epe") -> tuple[Chart, list[str]]:
    """Best published score of every network on a data set that its weights know nothing of, against its time.

    Returns:
        The chart, and the measured networks that have no such score.

    Raises:
        InputError: nobody published this score.
    """
    points, labels, missing = [], [], []
    for speed in speeds():
        if speed.precision != "float32":
            continue
        best = _best_score(speed.model, dataset, metric)
        if best is None:
            missing.append(speed.model)
        else:
            points.append((sum(speed.seconds) / 2, best[0]))
            labels.append(f"{speed.model}, {best[1]}")
    if not points:
        raise InputError(
            f"no network whose time was measured has a published {metric} on {dataset}: see docs/scores.md"
        )
    unit = "px" if metric == "epe" else "%"
    chart = Chart(
        f"{dataset}: published {metric} (not trained on it) against measured time",
        f"seconds for a pair of {_file()['conditions']['size']}",
        f"{metric}, {unit}",
        (Series("", points, labels),),
    )
    return chart, missing


def _best_score(model: str, dataset: str, metric: str) -> tuple[float, str] | None:
    """The lowest, and the weights that have it."""
    family = dataset.partition("-")[0]
    found = [
        (float(record["scores"][dataset][metric]), entry.tag)
        for entry in entries().values()
        if entry.model == model and not any(family in name.lower() for name in entry.trained_on)
        for record in entry.published
        if record.get("split", "train") == "train"
        and dataset not in record.get("seen", ())
        and metric in record.get("scores", {}).get(dataset, {})
    ]
    return min(found, default=None)
