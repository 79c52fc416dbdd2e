"""tools/gpu_report.py as far as it can be run without a GPU."""

import importlib.util
import types
from pathlib import Path

import pytest
import torch

from flowzoo.operators import launch


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


def test_stays_under_ten_minutes(report: types.ModuleType) -> None:
    assert sum(report.SECONDS.values()) < 600
    assert report.TESTS.is_file()


def test_agreement_compares_the_fast_backend(report: types.ModuleType) -> None:
    """Run on the CPU, where the fast backend is the native one."""
    rows = report.agreement("cpu")
    assert all(row["error"] < 1e-5 for row in rows)


def test_markdown(report: types.ModuleType) -> None:
    text = report.markdown(
        {
            "environment": {"device": "a GPU"},
            "agreement": [{"operator": "correlate", "error": 1.25e-7}],
            "tests": {"status": "passed", "output": "64 passed"},
            "sanitizer": {"memcheck": {"status": "not run: compute-sanitizer is not installed"}},
            "operators": {"failure": "took more than 100 s"},
            "networks": [],
        }
    )
    assert "| correlate | 1.25e-07 |" in text
    assert "passed (64 passed)" in text
    assert "- memcheck: not run" in text
    assert "FAILED: took more than 100 s" in text
    assert "nothing was measured" in text
