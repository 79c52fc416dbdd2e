"""Published and measured scores of the zoo's weights, from `weights/index.toml`. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flowzoo.checkpoints.index import Entry, entries
from flowzoo.errors import counted

HEADER = ("weights", "data set", "metric", "published", "measured here")
LEGEND = (
    "epe in px, psnr in dB, ssim from 0 to 1, the others in %; training split unless it says test; "
    "* = trained on this data set"
)


@dataclass
class Score:
    """One number of one file of weights, by everybody who measured it.

    Attributes:
        weights, dataset, metric: what was measured.
        published: value and who measured it, with what must be known.
        measured: our own values, with what must be known.
    """

    weights: str
    dataset: str
    metric: str
    published: list[str] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, str, str, str, str]:
        """The row of a table."""
        published, measured = ("; ".join(texts) or "-" for texts in (self.published, self.measured))
        return self.weights, self.dataset, self.metric, published, measured


def scores(chosen: Iterable[Entry]) -> list[Score]:
    """Scores of these weights, in the index's order."""
    rows: dict[tuple[str, str, str], Score] = {}
    for entry in chosen:
        for ours, records in ((False, entry.published), (True, entry.measured)):
            for record in records:
                for dataset, metrics in record.get("scores", {}).items():
                    for metric, value in metrics.items():
                        row = rows.setdefault((entry.tag, dataset, metric), Score(entry.tag, dataset, metric))
                        (row.measured if ours else row.published).append(_shown(value, record, dataset, ours))
    return list(rows.values())


def _shown(value: float, record: dict[str, Any], dataset: str, ours: bool) -> str:
    """2.48* (authors, test)."""
    facts = [] if ours or "by" not in record else [str(record["by"])]
    facts += [str(record["split"])] if record.get("split", "train") != "train" else []
    facts += [counted(record["pairs"], "pair")] if "pairs" in record else []
    star = "*" if dataset in record.get("seen", ()) else ""
    return f"{value:g}{star}" + (f" ({', '.join(facts)})" if facts else "")


def scores_of_model(name: str) -> str:
    """Published and measured scores of one network's weights as text for the terminal; "" where there are none.

    Raises:
        InputError: the index is damaged.
    """
    rows = [score.cells() for score in scores(entry for entry in entries().values() if entry.model == name)]
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in [HEADER, *rows]) for column in range(len(HEADER))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [HEADER, *rows]
    ]
    return "\n".join([f"scores ({LEGEND})", *(f"  {line}" for line in lines)])


def markdown_table() -> str:
    """All scores of the index as a Markdown table: the content of `docs/scores.md`.

    Raises:
        InputError: the index is damaged.
    """
    models = {entry.tag: entry.model for entry in entries().values()}
    lines = [
        "# Scores",
        "",
        "Generated from `weights/index.toml` by `python tools/update_scores.py`; do not edit by hand.",
        f"{LEGEND[0].upper()}{LEGEND[1:]}. Who measured a published number stands behind it.",
        "",
        "| model | " + " | ".join(HEADER) + " |",
        "| --- " * (len(HEADER) + 1) + "|",
    ]
    for score in scores(entries().values()):
        lines.append("| " + " | ".join((models[score.weights], *score.cells())) + " |")
    return "\n".join(lines) + "\n"
