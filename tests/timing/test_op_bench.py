"""`flowzoo bench operators` runs, names its rows and refuses what it does not know."""

import argparse
import json
from pathlib import Path

import pytest

from flowzoo.cli import bench_operators
from flowzoo.errors import InputError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    bench_operators.add_arguments(parser)
    return parser.parse_args(words)


def test_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.json"
    bench_operators.run(parsed("--shapes", "pwc level 6", "--seconds", "0.001", "--json", str(path)))
    lines = capsys.readouterr().out.splitlines()
    rows = json.loads(path.read_text())["rows"]
    assert len(lines) == 2 + len(rows)
    names = {row["operator"] for row in rows}
    assert names == {
        "correlate",
        "gather",
        "scatter",
        "sampled correlation",
        "sampled correlation backward",
        "sampled sad",
        "sampled sad backward",
        "warp",
        "splat",
        "local convolution",
    }
    for row in rows:
        assert row["seconds"] > 0
        assert row["backend"] != "portable" or row["ratio"] == 1
    correlate = next(row for row in rows if row["operator"] == "correlate")
    work = 2 * 196 * 7 * 16 * 81  # multiplications and additions of the level's correlation
    assert correlate["gflops"] == pytest.approx(work / correlate["seconds"] / 1e9)


@pytest.mark.parametrize("words", [("--shapes", "nothing"), ("--seconds", "0"), ("--threads", "0")])
def test_mistakes(words: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        bench_operators.run(parsed(*words))
