"""How much a video moves: mean and percentiles of the length of its flow, in constant memory."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from flowzoo.errors import InputError
from flowzoo.extras import needed_for
from flowzoo.files.atomic import replacing

PERCENTILES = (5, 25, 50, 75, 90, 95, 99)
STEPS = 64
"""Steps of a pixel that percentiles are found to."""
LONGEST = 4096
"""Pixels; longer flow counts as this long in percentiles."""
TABLES = (".parquet", ".csv", ".jsonl")


class MotionScore:
    """Collects the lengths of a video's flow vectors."""

    def __init__(self) -> None:
        self.counts = np.zeros(STEPS * LONGEST + 1, np.int64)
        self.total, self.longest, self.pairs = 0.0, 0.0, 0
        self.diagonal = 1.0

    def add(self, flow: np.ndarray) -> None:
        """Take in the flow of a pair, HxWx2."""
        length = np.hypot(flow[..., 0], flow[..., 1]).astype(np.float64)
        self.counts += np.bincount(
            np.minimum(length * STEPS, STEPS * LONGEST).astype(np.int64).ravel(), minlength=len(self.counts)
        )
        self.total += float(length.sum())
        self.longest = max(self.longest, float(length.max()))
        self.diagonal = float(np.hypot(*flow.shape[:2]))
        self.pairs += 1

    def scores(self) -> dict[str, float]:
        """`mean`, `p5` ... `p99` and `max` in pixels, and `mean_relative`, the mean over the frame's diagonal."""
        cumulated = np.cumsum(self.counts)
        count = max(int(cumulated[-1]), 1)
        mean = self.total / count
        # The middle of the step that holds the percentile.
        found = {
            f"p{percent}": (int(np.searchsorted(cumulated, percent / 100 * count)) + 0.5) / STEPS
            for percent in PERCENTILES
        }
        return {"mean": mean, **found, "max": self.longest, "mean_relative": mean / self.diagonal}


def check_table(path: Path) -> None:
    """Refuse a table that could not be written.

    Raises:
        InputError: an unknown suffix, or pyarrow is missing.
    """
    if path.suffix.lower() not in TABLES:
        raise InputError(f"--motion-score {path}: give a file that ends in {', '.join(TABLES)}")
    if path.suffix.lower() == ".parquet":
        _pyarrow()


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one row a video, complete or not at all.

    Raises:
        InputError: as `check_table`, or the file cannot be written.
    """
    check_table(path)
    if path.suffix.lower() == ".parquet":
        arrow, parquet = _pyarrow()
        with replacing(path) as temporary:
            parquet.write_table(arrow.Table.from_pylist(rows), str(temporary))
        return
    if path.suffix.lower() == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]) if rows else ["video"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def _pyarrow() -> tuple[Any, Any]:
    with needed_for(".parquet tables need", "pyarrow", "archive", "give a .csv or .jsonl file"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet
