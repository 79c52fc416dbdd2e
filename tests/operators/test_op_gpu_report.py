"""tools/gpu_report.py as far as it can be run without a GPU."""

import importlib.util
import json
import subprocess
import time
import types
from pathlib import Path

import pytest
import torch

from flowzoo.operators import launch, native


@pytest.fixture(scope="module")
def report() -> types.ModuleType:
    path = Path(__file__).parents[2] / "tools" / "gpu_report.py"
    spec = importlib.util.spec_from_file_location("gpu_report", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so(report: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available() and launch.available():
        pytest.skip("there is a GPU")
    assert report.main([]) == 2
    assert "needs a CUDA device" in capsys.readouterr().err


def test_the_parts_stay_within_the_minutes(report: types.ModuleType) -> None:
    assert list(report.SHARES) == ["tests", "sanitizer", "operators", "networks"]
    assert sum(report.SHARES.values()) <= 0.96  # the rest is for starting the processes
    assert sum("mark.cuda" in path.read_text() for path in report.TESTS.rglob("test_*.py")) >= 10


def test_touch_compares_the_fast_versions(report: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on the CPU, where the fast version is the native one."""
    monkeypatch.setattr(report.SCALE, "device", "cpu")
    rows = list(report.touch())
    assert len(rows) > 5 or native.library() is None
    assert all(row["error"] < 1e-4 for row in rows)


@pytest.mark.parametrize("part", ["operators", "networks"])
def test_a_rehearsal_measures(report: types.ModuleType, part: str) -> None:
    """All of the part's code, in a process of its own, with a CUDA that does nothing."""
    found = report.collect(part, 600, rehearsal=True)
    assert found["problem"] is None
    assert len(found["rows"]) == 12 if part == "networks" else len(found["rows"]) > 3
    for row in found["rows"]:
        assert row["eager_ms" if part == "networks" else "seconds"] > 0


def test_what_was_measured_in_time_is_kept(
    report: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program, printed = tmp_path / "slow.py", tmp_path / "printed"
    program.write_text(
        f"import pathlib, time\nprint('{{\"a\": 1}}', flush=True)\nprint('{{\"b', flush=True)\n"
        f"pathlib.Path({str(printed)!r}).touch()\ntime.sleep(600)\n"
    )

    class Impatient(subprocess.Popen):
        def wait(self, timeout: float | None = None) -> int:
            if timeout is None:
                return super().wait()
            while not printed.exists():
                time.sleep(0.02)
            raise subprocess.TimeoutExpired("slow", timeout)

    monkeypatch.setattr(report.subprocess, "Popen", Impatient)
    monkeypatch.setattr(report, "__file__", str(program))
    assert report.collect("operators", 5) == {"rows": [{"a": 1}], "problem": "stopped after 5 s"}


def test_a_part_that_fails_is_told(report: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    program.write_text("raise SystemExit('no such device')")
    monkeypatch.setattr(report, "__file__", str(program))
    assert report.collect("operators", 600) == {"rows": [], "problem": "no such device"}


def test_without_its_tools_a_part_is_not_run(report: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.shutil, "which", lambda name: None)
    assert [row["status"] for row in report.sanitizer()] == ["not run: compute-sanitizer is not installed"] * 2


def test_the_whole_report(report: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parts = {
        "tests": {"rows": [{"what": "kernel tests", "status": "passed", "output": "64 passed"}], "problem": None},
        "sanitizer": {"rows": [], "problem": None},
        "operators": {"rows": [{"operator": "correlate", "error": 1.25e-7}], "problem": "stopped after 100 s"},
        "networks": {"rows": [{"network": "a", "graph_ms": None}, {"network": "b", "peak": 2.0}], "problem": None},
    }
    asked = {}
    monkeypatch.setattr(
        report, "collect", lambda part, seconds, rehearsal: (asked.update({part: seconds}), parts[part])[1]
    )
    assert report.main(["--minutes", "8", "--rehearse", "-o", str(tmp_path)]) == 0
    assert asked == pytest.approx({"tests": 134.4, "sanitizer": 67.2, "operators": 96, "networks": 158.4})
    text = (tmp_path / "gpu-report.md").read_text()
    assert "| kernel tests | passed | 64 passed |" in text
    assert "| correlate | 1.25e-07 |" in text
    assert "FAILED: stopped after 100 s" in text
    assert "nothing was measured" in text
    assert "| b |  | 2 |" in text
    assert json.loads((tmp_path / "gpu-report.json").read_text())["operators"] == parts["operators"]
