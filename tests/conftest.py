"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch
from quick_compiler import quick_compiler

from flowzoo.operators import native

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fuzz-minutes N`: how long tests/fuzz goes on beyond its first inputs."""
    parser.addoption(
        "--fuzz-minutes", type=float, default=0.0, help="minutes of fuzzing in tests/fuzz (default: a round)"
    )
    parser.addoption("--fuzz-seed", type=int, default=0, help="number of the first inputs of tests/fuzz (default: 0)")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference outputs and sample data: beside the checkout, or where FLOWZOO_SHARED points."""
    path = Path(os.environ.get("FLOWZOO_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (path / "parity").is_dir():
        pytest.skip(f"needs the reference outputs: no folder {path}/parity (set FLOWZOO_SHARED)")
    return path


@pytest.fixture(scope="session", autouse=True)
def _kernels() -> None:
    """The CPU kernels are there before the first test, or else which tests use them depended on the order of tests."""
    native.library()


@pytest.fixture(scope="session")
def hasty_compiler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that builds libraries quickly; what it compiles serves all processes of this test run."""
    own = tmp_path_factory.getbasetemp()
    shared_by_all = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return str(quick_compiler(own / "hasty-c++", shared_by_all / "compiled"))


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that does not wait for kernels decides that for its own test alone."""
    monkeypatch.setitem(native._patience, "waits", True)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    """Random weights and inputs are the same in every run and in every order of tests."""
    torch.manual_seed(0)
