"""Ranks wait for each other as long as it takes, and stop together."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from toy_task import PRESET

from flowzoo.distributed import Ranks, start
from flowzoo.errors import InputError

HERE = Path(__file__).parent
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def launched(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    everything = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([*LAUNCHER, *words], env=everything, capture_output=True, text=True, timeout=240)


def test_two_ranks_start_and_wait_longer_than_the_timeout_and_stop_together(tmp_path: Path) -> None:
    done = launched(str(HERE / "rank_checks.py"), str(tmp_path / "result.json"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "result.json").read_text()) == {
        "leader": [{"rank": 0.0}] * 2,
        "gathered": [0, 1],
        "mean": [1.5],
        "problems": [
            ["InputError: rank 1 has a problem", "InputError: rank 0 has a problem", "fine"],
            ["SystemExit: 2", "SystemExit: 2", "fine"],
        ],
    }


def test_a_validation_that_takes_longer_than_the_timeout_does_not_end_the_run(tmp_path: Path) -> None:
    preset = tmp_path / "toy.toml"
    preset.write_text(PRESET.replace("validate_every = 2", "validate_every = 4"))
    words = [str(HERE / "toy_task.py"), "train", str(preset), "--workers", "0", "-o", str(tmp_path / "run")]
    done = launched(*words, TOY_TIMEOUT="5", TOY_SLOW="7")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "denoiser.safetensors").is_file()


def test_a_fault_that_all_ranks_have_is_said_once(tmp_path: Path) -> None:
    preset = tmp_path / "toy.toml"
    preset.write_text(PRESET.replace("batch = 4", "batch = 5"))
    done = launched(str(HERE / "toy_task.py"), "train", str(preset), "-o", str(tmp_path / "run"))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("flowzoo: ")]
    assert len(said) == 1
    assert "a batch of 5 does not divide into 2 process(es)" in said[0]


def test_a_process_that_never_comes_is_told() -> None:
    waiting = Ranks(0, 2, store=torch.distributed.HashStore())
    with pytest.raises(InputError, match="of 2 processes of this run 1 came"):
        waiting.meet(within=timedelta(seconds=0.1))


def test_one_process_needs_no_torch_and_no_group() -> None:
    with start() as ranks:
        assert ranks == Ranks()
        assert ranks.gather(3) == [3]
        assert ranks.from_leader(lambda: 4) == 4
        with pytest.raises(InputError, match="once"), ranks.agreement():
            raise InputError("once")
    code = "import sys, flowzoo.distributed as d\nwith d.start() as r: r.meet()\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
