"""`flowzoo bench operators` runs, names its rows and refuses what it does not know."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from flowzoo.cli import bench_operators
from flowzoo.errors import InputError
from flowzoo.operators import deform
from flowzoo.timing import operator_cases


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
        "warp backward",
        "splat",
        "local convolution",
    }
    for row in rows:
        assert row["seconds"] > 0
        assert row["backend"] != "portable" or row["ratio"] == 1
    correlate = next(row for row in rows if row["operator"] == "correlate")
    work = 2 * 196 * 7 * 16 * 81  # multiplications and additions of the level's correlation
    assert correlate["gflops"] == pytest.approx(work / correlate["seconds"] / 1e9)


def test_deform_is_timed_beside_the_stacked_decomposition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(operator_cases.ALIGNMENT_SHAPES, "edvr-m level 3", (16, 9, 11))
    path = tmp_path / "table.json"
    bench_operators.run(parsed("--shapes", "edvr-m level 3", "--seconds", "0.001", "--json", str(path)))
    rows = json.loads(path.read_text())["rows"]
    assert "deform, rough, trained" in capsys.readouterr().out
    assert {row["backend"] for row in rows} >= {"stacked", "portable"}
    assert all(row["ratio"] == 1 for row in rows if row["backend"] == "stacked")


def test_the_stacked_decomposition_is_deform() -> None:
    features, weight, bias = torch.randn(1, 16, 9, 11), torch.randn(5, 16, 3, 3), torch.randn(5)
    offset, mask = torch.randn(1, 144, 9, 11), torch.rand(1, 72, 9, 11)
    found = operator_cases.stacked_deform(features, offset, weight, bias, mask)
    assert torch.allclose(found, deform(features, offset, weight, bias, mask, padding=1), atol=2e-3)


@pytest.mark.parametrize("words", [("--shapes", "nothing"), ("--seconds", "0"), ("--threads", "0")])
def test_mistakes(words: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        bench_operators.run(parsed(*words))
