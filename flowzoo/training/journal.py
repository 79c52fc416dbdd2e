"""What a run says about itself: log.csv, log.jsonl, log.svg, optionally TensorBoard, and one line of progress."""

import csv
import json
import logging
import math
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from flowzoo.charts import Chart, Series, svg
from flowzoo.errors import InputError
from flowzoo.extras import needed_for
from flowzoo.files.atomic import replacing

log = logging.getLogger(__name__)

UNDRAWN = ("stage", "step", "samples_per_second", "waiting", "gradient_norm")
"""Columns that have no curve."""


class Journal:
    """Rows of numbers by step, in `folder`/log.csv (the `columns`) and log.jsonl (everything); curves in log.svg.

    What is no finite number is empty in the one and null in the other.

    When a run resumes at `step`, rows of later steps (written after the checkpoint, before the end) are dropped, so
    that the files read as if the run had never stopped.
    """

    def __init__(self, folder: Path, columns: Sequence[str], step: int, tensorboard: bool) -> None:
        self.csv, self.jsonl, self.columns = folder / "log.csv", folder / "log.jsonl", tuple(columns)
        self.picture = folder / "log.svg"
        rows = [row for row in self._rows() if row["step"] <= step] if step else []
        with replacing(self.jsonl) as temporary:
            temporary.write_text("".join(map(_json_line, rows)), encoding="utf-8")
        with replacing(self.csv) as temporary:
            temporary.write_text(",".join(self.columns) + "\n" + "".join(map(self._csv_line, rows)), encoding="utf-8")
        self.board = _tensorboard(folder) if tensorboard else None

    def write(self, **row: Any) -> None:
        """Append one row; values that are not there stay empty."""
        try:
            with self.jsonl.open("a", encoding="utf-8") as file:
                file.write(_json_line(row))
            with self.csv.open("a", encoding="utf-8") as file:
                file.write(self._csv_line(row))
        except OSError as error:
            raise InputError(
                f"cannot write {self.csv.parent}: {error.strerror}; free some space and --resume"
            ) from error
        if self.board is not None:
            for key, value in row.items():
                if isinstance(value, (int, float)) and math.isfinite(value) and key != "step":
                    self.board.add_scalar(f"{row['stage']}/{key}", value, row["step"])

    def draw(self) -> None:
        """Write log.svg: every quantity of the log that is not about speed, over the steps."""
        rows = self._rows()
        charts = []
        for name in self.columns:
            if name in UNDRAWN:
                continue
            points = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), (int, float))]
            if points:
                charts.append(Chart(name.replace("_", " "), "step", "", (Series("", points),), name == "loss"))
        with replacing(self.picture) as temporary:
            temporary.write_text(svg(charts), encoding="utf-8")

    def close(self) -> None:
        """Draw the curves, and flush what is buffered."""
        self.draw()
        if self.board is not None:
            self.board.close()

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        if self.jsonl.is_file():
            for line in self.jsonl.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # a line that was being written when the process died
                if isinstance(row, dict) and isinstance(row.get("step"), int):
                    rows.append(row)
        return rows

    def _csv_line(self, row: dict[str, Any]) -> str:
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerow([_strict(row.get(column, "")) for column in self.columns])
        return text.getvalue()


def _json_line(row: dict[str, Any]) -> str:
    return json.dumps(_strict(row), allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    """`value` without NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _strict(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Clock:
    """Wall time since the last row: samples per second, share of it spent waiting for data, time left."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start an interval."""
        self.since, self.waited, self.samples, self.steps = time.perf_counter(), 0.0, 0, 0

    def rates(self) -> tuple[float, float, float]:
        """Samples per second, share of the time waited for data (0..1), seconds per step; over the interval."""
        elapsed = max(time.perf_counter() - self.since, 1e-9)
        return self.samples / elapsed, self.waited / elapsed, elapsed / max(self.steps, 1)


def duration(seconds: float) -> str:
    """3723 -> "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _tensorboard(folder: Path) -> Any:
    with needed_for("--tensorboard needs", "tensorboard", "log"):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder / "tensorboard"))
