"""Checkpoints: any damage is noticed and the one before is taken; a folder has one run; runs can be lengthened."""

import json
import logging
import pickle
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_task import known, toy_preset
from training_runs import trained

from flowzoo.cli.parser import run as flowzoo
from flowzoo.errors import InputError
from flowzoo.files.claim import claimed
from flowzoo.training import state
from flowzoo.training.recipe import Recipe, load_recipe

pytestmark = pytest.mark.usefixtures("_known")


@pytest.fixture(name="_known")
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)


def recipe(folder: Path, **changes: str) -> Recipe:
    return load_recipe(toy_preset(folder), changes)


def rows(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def without(content: bytes, folder: Path, key: str, value: object = None) -> bytes:
    """A checkpoint whose entry `key` is gone, or another value; with the right checksum."""
    source = folder / "source.pt"
    source.write_bytes(content)
    stored = torch.load(source, weights_only=True)
    step = stored.pop("step")
    stored.pop("recipe")
    stored.pop(key, None)
    if value is not None:
        stored[key] = value
    source.unlink()
    path = state.save_state(folder, recipe(folder), step, stored)
    return path.read_bytes()


class Running:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (open, ("ran", "w"))


DAMAGE = {
    "cut": lambda content, _: content[: len(content) // 2],
    "cut by a byte": lambda content, _: content[:-1],
    "empty": lambda content, _: b"",
    "zeros": lambda content, _: bytes(len(content)),
    "a block of zeros": lambda content, _: content[:2000] + bytes(512) + content[2512:],
    "longer": lambda content, _: content + b"x",
    "a text": lambda content, _: b"not a checkpoint\n" * 99,
    "code": lambda content, _: pickle.dumps(Running()),
    "no network": lambda content, folder: without(content, folder, "network"),
    "no sums": lambda content, folder: without(content, folder, "sums"),
    "a list for the optimiser": lambda content, folder: without(content, folder, "optimizer", [1]),
    "a text for the step": lambda content, folder: without(content, folder, "stage_step", "7"),
    "a stage too many": lambda content, folder: without(content, folder, "stage", 5),
}


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is over."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        known(patch)
        trained(recipe(folder), folder, folder / "run")
    return folder / "run"


@pytest.mark.parametrize("kind", DAMAGE)
def test_whatever_is_damaged_the_checkpoint_before_is_taken(kind: str, whole: Path, tmp_path: Path, caplog) -> None:
    shutil.copytree(whole, tmp_path / "run")
    newest = state.checkpoints(tmp_path / "run")[-1]
    newest.write_bytes(DAMAGE[kind](newest.read_bytes(), tmp_path))
    (tmp_path / newest.name).unlink(missing_ok=True)
    caplog.set_level(logging.WARNING)
    again = trained(recipe(tmp_path), tmp_path, tmp_path / "run", resume=True)
    assert again.file.read_bytes() == (whole / "denoiser.safetensors").read_bytes()
    (warning,) = [record.getMessage() for record in caplog.records]
    assert newest.name in warning
    assert "is damaged" in warning
    assert len(warning) < 1000
    assert not Path("ran").exists()


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    found = recipe(tmp_path)
    for step in (2, 3):
        path = state.save_state(tmp_path, found, step, {"network": {"weight": torch.arange(5000.0)}})
    good = path.read_bytes()
    bits = random.Random(0).sample(range(8 * len(good)), 250)
    last = [*range(8 * (len(good) - 100), 8 * len(good), 5)]  # the end of the archive, its comment with the checksum
    for bit in [*bits, *last]:
        path.write_bytes(flipped(good, bit))
        assert state.load_state(tmp_path, found)["step"] == 2, f"bit {bit} of {8 * len(good)}"
    path.write_bytes(good)
    assert state.load_state(tmp_path, found)["step"] == 3


def test_checkpoints_from_before_there_was_a_checksum_are_read(tmp_path: Path) -> None:
    found = recipe(tmp_path)
    for step in (2, 3):
        content = {"recipe": found.as_json(), "step": step, "network": {"weight": torch.arange(5000.0)}}
        torch.save(content, tmp_path / f"checkpoint-{step:09d}.pt")
    assert state.load_state(tmp_path, found)["step"] == 3
    path = tmp_path / "checkpoint-000000003.pt"
    path.write_bytes(flipped(path.read_bytes(), 4 * path.stat().st_size))  # the archive's own check sums see it
    assert state.load_state(tmp_path, found)["step"] == 2
    (tmp_path / "checkpoint-000000002.pt").write_bytes(b"")
    with pytest.raises(InputError, match="none of the 2 checkpoints"):
        state.load_state(tmp_path, found)


def test_a_run_of_the_version_before_goes_on(tmp_path: Path) -> None:
    """Its checkpoints had no checksum, no best weights and no count of skipped steps, but torch's random state."""
    plain = recipe(tmp_path, validate_every="0")
    expected = trained(plain, tmp_path, tmp_path / "run").file.read_bytes()
    path = state.checkpoints(tmp_path / "run")[-2]
    stored = torch.load(path, weights_only=True)
    del stored["skipped"]
    torch.save(stored | {"best": float("inf"), "stale": 1, "random": {"cpu": torch.get_rng_state()}}, path)
    state.checkpoints(tmp_path / "run")[-1].unlink()
    again = trained(plain, tmp_path, tmp_path / "run", resume=True)
    assert again.ending.step == 7
    assert again.file.read_bytes() == expected


def test_a_checkpoint_is_a_file_that_torch_reads(whole: Path) -> None:
    stored = torch.load(state.checkpoints(whole)[-1], weights_only=True)
    assert stored["step"] == 7


def test_a_second_run_in_a_folder_is_refused(tmp_path: Path, capsys) -> None:
    words = ["train", toy_preset(tmp_path), "--workers", "0", "-o", str(tmp_path / "run"), "--resume"]
    with claimed(tmp_path / "run", "training run"):
        assert flowzoo(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "is in use by another training run (process" in said
    assert flowzoo(words) == 0
    assert [row["step"] for row in rows(tmp_path / "run") if "loss" in row] == [2, 3, 5, 7]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom flowzoo.files.claim import claimed\n"
        "with claimed(sys.argv[1], 'training run'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {process.pid} on "), claimed(tmp_path, "training run"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with claimed(tmp_path, "training run"):
        pass


@pytest.mark.parametrize("place", ["file", "file/below", "/dev/null/x"])
def test_an_output_folder_that_cannot_be_is_one_line(place: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("x")
    assert flowzoo(["train", toy_preset(tmp_path), "-o", str(tmp_path / place)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a file, not a folder" in said or "Not a directory" in said or "not an ordinary" in said
    assert (tmp_path / "file").read_text() == "x"


def test_a_run_that_is_over_can_be_lengthened(tmp_path: Path) -> None:
    """Where the schedule does not look at the end, the result is that of a run that was longer from the start."""
    plain = {"validate_every": "0", "rough.steps": "2"}
    straight = trained(recipe(tmp_path, **plain, **{"fine.steps": "6"}), tmp_path, tmp_path / "straight")
    trained(recipe(tmp_path, **plain, **{"fine.steps": "3"}), tmp_path, tmp_path / "run")
    longer = trained(recipe(tmp_path, **plain, **{"fine.steps": "6"}), tmp_path, tmp_path / "run", resume=True)
    assert longer.file.read_bytes() == straight.file.read_bytes()
    assert longer.ending.step == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rough.steps": "9"}, "stage rough: steps was 3, here it is 9, and that stage is over; --set fine.steps sets"),
        ({"steps": "9"}, "stage rough: steps was 3"),
        ({"fine.steps": "2"}, "here it is 2, and 4 steps are done"),
        ({"noise": "0.5"}, "stage rough: noise was 0.2, here it is 0.5"),
    ],
)
def test_nothing_else_may_change(changes: dict[str, str], words: str, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    with pytest.raises(InputError, match=words):
        trained(recipe(tmp_path, **changes), tmp_path, tmp_path / "run", resume=True)


def test_a_step_that_ruins_the_weights_is_not_saved(tmp_path: Path) -> None:
    """Not even where it falls between two rows of the log."""
    changes = {"rough.learning_rate": "1e30", "log_every": "100", "validate_every": "0", "average": "0"}
    with pytest.raises(InputError, match="the loss of stage 'rough' is not finite at step"):
        trained(recipe(tmp_path, **changes), tmp_path, tmp_path / "run")
    stored = torch.load(state.checkpoints(tmp_path / "run")[-1], weights_only=True)
    assert all(value.isfinite().all() for value in stored["network"].values())
