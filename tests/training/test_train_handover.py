"""Batches from other processes arrive, or one line says why not; nothing waits for ever."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_task import toy_preset

from flowzoo.augmentation import TrainingSample, collate
from flowzoo.distributed import Ranks
from flowzoo.errors import InputError
from flowzoo.training.loader import batches
from flowzoo.training.stage import Stage
from flowzoo.training.task import Data

TOY = str(Path(__file__).with_name("toy_task.py"))


@pytest.mark.skipif(sys.platform != "linux", reason="sockets with names, as Linux has them")
def test_a_long_folder_for_temporary_files(tmp_path: Path) -> None:
    """Names of sockets have 107 bytes at most."""
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    command = [sys.executable, TOY, "train", toy_preset(tmp_path), "-o", str(tmp_path / "run"), "--workers", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            errors = process.communicate(timeout=200)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert (tmp_path / "run" / "denoiser.safetensors").is_file()


class Stuck:
    """Cannot leave its process, as a tensor for which there is no shared memory."""

    def __init__(self, kind: type[Exception]) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[type, tuple[()]]:
        raise self.kind("No space left on device\n(28)")


class Unwelcome:
    """Leaves its process, and cannot enter another, as a tensor when there are too many open files."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _refuse, ("No space left on device\n(28)",)


def _refuse(words: str) -> None:
    raise OSError(words)


class Ones:
    def __getitem__(self, number: int) -> int:
        return 1


@pytest.mark.parametrize("part", [Stuck(OSError), Stuck(RuntimeError), Unwelcome()])
def test_no_room_for_a_batch_is_one_line(part: object) -> None:
    found = batches(Data(Ones(), lambda _: part), 0, Stage(steps=4, batch=2), Ranks(), 1)
    with pytest.raises(InputError, match=r"\(No space left on device \(28\)\).*--workers 0 needs none"):
        next(found)


def test_no_shared_memory_to_join_samples_in_is_one_line() -> None:
    def join(samples: list[int]) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    with pytest.raises(InputError, match=r"No space left on device \(28\).*--workers 0 needs none"):
        next(batches(Data(Ones(), join), 0, Stage(steps=4, batch=2), Ranks(), 1))


def test_joined_tensors_need_no_move_to_shared_memory() -> None:
    """They are stacked there at once, which saves a copy of every batch."""
    (part,) = batches(Data(Shares(), lambda samples: samples[0]), 0, Stage(steps=1, batch=1), Ranks(), 1)
    assert part is True


class Shares:
    def __getitem__(self, number: int) -> bool:
        frame, flow, valid = torch.zeros(3, 4, 5), torch.zeros(2, 4, 5), torch.ones(4, 5, dtype=torch.bool)
        batch = collate([TrainingSample(frame, frame, flow, valid)] * 2)
        return batch.first.shape == (2, 3, 4, 5) and batch.first.is_shared() and batch.valid.is_shared()


def test_batches_of_this_process_are_not_packed() -> None:
    part = Stuck(OSError)
    assert list(batches(Data(Ones(), lambda _: part), 0, Stage(steps=2, batch=2), Ranks(), 0)) == [part, part]
