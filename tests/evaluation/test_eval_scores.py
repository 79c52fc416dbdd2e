"""The table of scores follows from the index."""

from pathlib import Path

import pytest

from flowzoo.checkpoints.index import Entry, entries
from flowzoo.evaluation import scores as module


def make_entry() -> Entry:
    published = [
        {"by": "authors", "scores": {"sintel-clean": {"epe": 2.5}}, "seen": ["sintel-clean"]},
        {"by": "somebody", "split": "test", "scores": {"sintel-clean": {"epe": 4.0}, "kitti-2015": {"fl_all": 9.25}}},
    ]
    measured = [{"command": "flowzoo evaluate ...", "pairs": 8, "scores": {"sintel-clean": {"epe": 2.61}}}]
    return Entry("tag", "model", "format", "licence", ["things"], published=published, measured=measured)


def test_published_and_measured_side_by_side() -> None:
    rows = [score.cells() for score in module.scores([make_entry()])]
    assert rows == [
        ("tag", "sintel-clean", "epe", "2.5* (authors); 4 (somebody, test)", "2.61 (8 pairs)"),
        ("tag", "kitti-2015", "fl_all", "9.25 (somebody, test)", "-"),
    ]


def test_text_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "entries", lambda: {"tag": make_entry()})
    assert "2.61 (8 pairs)" in module.scores_of_model("model")
    assert module.scores_of_model("another") == ""


def test_document_is_up_to_date() -> None:
    document = Path(__file__).resolve().parents[2] / "docs" / "scores.md"
    assert document.read_text(encoding="utf-8") == module.markdown_table(), "run python tools/update_scores.py"
    assert all(tag in document.read_text(encoding="utf-8") for tag, entry in entries().items() if entry.published)
