"""The loop on rendered pairs: it learns, resumes bit for bit, and refuses what it should with one line."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import trained

from flowzoo.errors import InputError
from flowzoo.synthetic import SyntheticPairs, Textures
from flowzoo.synthetic.packed import Manifest, write_manifest, write_shard
from flowzoo.training import state
from flowzoo.training.recipe import load_recipe

TINY = {
    "crop": "64,64",
    "batch": "2",
    "warmup": "1",
    "precision": "float32",
    "save_every": "2",
    "log_every": "2",
    "begin.steps": "3",
    "quarter.steps": "2",
    "large.steps": "3",
    "longer.steps": "0",
    "again.steps": "0",
    "last.steps": "0",
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rendered pairs of 96x64."""
    folder = tmp_path_factory.mktemp("pairs")
    source = SyntheticPairs(Textures(None, procedural=4), size=(64, 96), count=6)
    write_manifest(folder, Manifest(6, (64, 96), 0, False, {}))
    write_shard(folder, 0, [source.render(range(6), as_bytes=True)], backward=False)
    return folder


def run(pairs: Path, output: Path, changes: dict[str, str] | None = None, *, resume: bool = False) -> dict:
    recipe = load_recipe("default", TINY | (changes or {}))
    return trained(recipe, pairs, output, resume=resume).network.state_dict()


def command(pairs: Path, output: Path, *more: str) -> list[str]:
    settings = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    words = ["-m", "flowzoo", "train", "default", "--root", str(pairs), "-o", str(output), "--workers", "0"]
    return [sys.executable, *words, *settings, *more]


def rows(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def test_a_run_writes_its_log_and_keeps_two_checkpoints(pairs: Path, tmp_path: Path) -> None:
    weights = run(pairs, tmp_path)
    assert all(value.isfinite().all() for value in weights.values())
    assert [row["step"] for row in rows(tmp_path)] == [2, 3, 5, 7, 8]
    assert (tmp_path / "log.csv").read_text().count("\n") == 6
    assert [path.name for path in state.checkpoints(tmp_path)] == ["checkpoint-000000007.pt", "checkpoint-000000008.pt"]


@pytest.mark.parametrize("stopped_at", [2, 4, 5, 7])
def test_resuming_is_exact_in_every_stage(pairs: Path, tmp_path: Path, stopped_at: int, monkeypatch) -> None:
    """A run that dies right after the checkpoint of a step ends as one that never died."""
    whole = run(pairs, tmp_path / "whole", {"save_every": "1"})
    save = state.save_state

    def dying(folder: Path, recipe: object, step: int, content: dict) -> Path:
        path = save(folder, recipe, step, content)
        if step == stopped_at:
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(state, "save_state", dying)
    with pytest.raises(KeyboardInterrupt):
        run(pairs, tmp_path / "cut", {"save_every": "1"})
    monkeypatch.undo()
    resumed = run(pairs, tmp_path / "cut", {"save_every": "1"}, resume=True)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "cut"), strict=True):
        for key in ("stage", "step", "loss", "epe", "learning_rate", "gradient_norm"):
            assert one[key] == other[key]


def started(pairs: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    """A run that has just begun to train: its output folder is there."""
    process = subprocess.Popen(command(pairs, output, *more), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    while not output.exists() and process.poll() is None:
        time.sleep(0.01)
    return process


def test_killed_runs_end_with_the_same_bytes(pairs: Path, tmp_path: Path) -> None:
    """FLOWZOO_KILLS runs (default 4), each killed -9 at a random moment while it trains, and resumed.

    A run that was faster than its moment does not count: another one takes its place and is killed sooner.
    """
    often = ("--set", "save_every=1")
    with started(pairs, tmp_path / "whole", *often) as process:
        begin = time.monotonic()
    assert process.returncode == 0
    length = time.monotonic() - begin
    expected = (tmp_path / "whole" / "wren.safetensors").read_bytes()
    moments, kills = random.Random(1), int(os.environ.get("FLOWZOO_KILLS", "4"))
    found = []  # checkpoints that the kills left
    while len(found) < kills:
        output = tmp_path / f"{len(found)}-{length}"
        with started(pairs, output, *often) as process:
            time.sleep(moments.uniform(0, length))
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            length *= 0.8
            continue
        found.append(len(state.checkpoints(output)))
        done = subprocess.run(
            command(pairs, output, "--resume", *often), env=ENVIRONMENT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert (output / "wren.safetensors").read_bytes() == expected
    print(f"{kills} runs killed; checkpoints found: {found}")


def test_a_damaged_checkpoint_falls_back_to_the_one_before(pairs: Path, tmp_path: Path) -> None:
    whole = run(pairs, tmp_path)
    newest = state.checkpoints(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = run(pairs, tmp_path, resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": "0.5"}, "learning_rate was 0.001, here it is 0.5"),
        ({"seed": "3"}, "its seed is 0, here it is 3"),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(
    pairs: Path, tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    run(pairs, tmp_path)
    with pytest.raises(InputError, match=words):
        run(pairs, tmp_path, changes, resume=True)
    with pytest.raises(InputError, match="add --resume"):
        run(pairs, tmp_path)


def test_bad_data_is_one_line(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest.json is missing"):
        run(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="does not divide"):
        run(pairs, tmp_path / "out", {"accumulate": "3"})
    with pytest.raises(InputError, match="did you mean 'flyingchairs'"):
        run(pairs, tmp_path / "out", {"data": "flyingchair"})
    with pytest.raises(InputError, match="there is no augmentation 'synthetical': did you mean 'synthetic'"):
        run(pairs, tmp_path / "out", {"augmentation": "synthetical"})


def test_a_full_disk_is_one_line_and_loses_nothing(pairs: Path, tmp_path: Path, monkeypatch) -> None:
    save = torch.save

    def full(content: dict, path: Path) -> None:
        if content["step"] >= 4:
            raise OSError(28, "No space left on device")
        save(content, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(pairs, tmp_path)
    monkeypatch.undo()
    assert [path.name for path in state.checkpoints(tmp_path)] == ["checkpoint-000000002.pt", "checkpoint-000000003.pt"]
    resumed = run(pairs, tmp_path, resume=True)
    whole = run(pairs, tmp_path / "whole")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_accumulation_is_the_same_step(pairs: Path, tmp_path: Path) -> None:
    """Two halves of a batch give the gradient of the whole, to float rounding."""
    one = {"quarter.steps": "0", "large.steps": "0", "begin.steps": "1", "average": "0"}
    whole, halves = run(pairs, tmp_path / "a", one), run(pairs, tmp_path / "b", one | {"accumulate": "2"})
    difference = max(float((whole[name] - halves[name]).abs().max()) for name in whole)
    assert 0 < difference < 2e-3  # Adam turns a rounding error of a tiny gradient into part of a step of 1e-3
    a, b = (rows(tmp_path / name)[0] for name in "ab")
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-4)


def test_two_ranks_are_one_process_with_the_same_batch(pairs: Path, tmp_path: Path) -> None:
    """A small rate: Adam's first steps have the size of the rate even where a gradient is rounding alone."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    two = [*launcher, *command(pairs, tmp_path / "two", "--set", "learning_rate=1e-5")[1:]]
    done = subprocess.run(two, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run(pairs, tmp_path / "one", {"learning_rate": "1e-5"})
    for one, other in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=2e-5)
        assert one["epe"] == pytest.approx(other["epe"], rel=2e-5)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3)
    assert load_file(tmp_path / "two" / "wren.safetensors").keys()


@pytest.mark.slow
def test_a_killed_rank_is_reported_and_the_run_resumed(pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    long = [*launcher, *command(pairs, output, "--set", "begin.steps=100000")[1:]]
    with subprocess.Popen(long, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        while not state.checkpoints(output):
            time.sleep(0.2)
        ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(ranks[-1]), signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    # The other rank notices by itself, or the launcher is quicker and ends it; the launcher names the signal.
    assert "lost contact with another process" in said or "terminated; what was written is complete" in said
    assert "SIGKILL" in said
    assert "--resume" in said
    done = subprocess.run(
        command(pairs, output, "--resume", "--set", "begin.steps=100000", "--set", "log_every=1"),
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2  # another log_every is another recipe
    assert "log_every was 2" in done.stderr
