"""Write docs/scores.md from weights/index.toml: `python tools/update_scores.py`."""

from pathlib import Path

from flowzoo.evaluation.scores import markdown_table

if __name__ == "__main__":
    Path(__file__).resolve().parents[1].joinpath("docs", "scores.md").write_text(markdown_table(), encoding="utf-8")
