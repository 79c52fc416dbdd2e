"""Faults of the user's pairs: told in one line that names the file, before the first step; nothing just vanishes."""

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

from flowzoo.augmentation import TrainingSample
from flowzoo.cli.parser import run as flowzoo
from flowzoo.errors import InputError
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image
from flowzoo.training.flow import sources
from flowzoo.training.flow.checking import flow_size
from flowzoo.training.loader import batches
from flowzoo.training.stage import Stage
from flowzoo.training.task import Data

SMALL = ["steps=2", "batch=2", "crop=32,32", "warmup=0", "validate_every=0", "patience=0"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven pairs of 48x40, and the list of them."""
    random = np.random.default_rng(0)
    for number in range(11):
        for name in "ab":
            write_image(tmp_path / f"{name}{number}.png", random.integers(0, 256, (40, 48, 3), dtype=np.uint8))
        write_flow(tmp_path / f"f{number}.flo", np.ones((40, 48, 2), np.float32))
    lines = [f"a{number}.png b{number}.png f{number}.flo" for number in range(11)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def train(folder: Path, *more: str, settings: list[str] | None = None) -> int:
    words = [word for setting in settings or SMALL for word in ("--set", setting)]
    output = ["--workers", "0", "-o", str(folder / "run")]
    return flowzoo(["train", "finetune", "--data", str(folder / "pairs.txt"), *output, *words, *more])


def changed(folder: Path, old: str, new: str) -> None:
    text = (folder / "pairs.txt").read_text()
    assert old in text
    (folder / "pairs.txt").write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "kind", ["first image", "second image", "flow", "a picture as flow", "a crop that is too large"]
)
def test_headers_are_read_before_the_first_step(folder: Path, kind: str, capsys, monkeypatch) -> None:
    """Of a pair that two steps would not have drawn, perhaps: no sample is read but the first."""
    read: list[str] = []
    whole = sources.DatasetSource.__getitem__

    def noted(self: sources.DatasetSource, index: int) -> TrainingSample:
        read.append(str(index))
        return whole(self, index)

    monkeypatch.setattr(sources.DatasetSource, "__getitem__", noted)
    crop = []
    if kind == "first image":
        write_image(folder / "a7.png", np.zeros((24, 48, 3), np.uint8))
        words = "b7.png has 48x40 pixels, and not 48x24"
    elif kind == "second image":
        write_image(folder / "b7.png", np.zeros((24, 48, 3), np.uint8))
        words = "b7.png has 48x24 pixels, and not 48x40"
    elif kind == "flow":
        write_flow(folder / "f7.flo", np.ones((40, 47, 2), np.float32))
        words = "f7.flo has 47x40 pixels, and not 48x40"
    elif kind == "a picture as flow":
        changed(folder, "f7.flo", "a3.png")
        words = "a3.png is a colour picture"
    else:
        for name, shape in (("a7.png", (24, 30, 3)), ("b7.png", (24, 30, 3))):
            write_image(folder / name, np.zeros(shape, np.uint8))
        write_flow(folder / "f7.flo", np.ones((24, 30, 2), np.float32))
        crop = ["augmentation=none"]
        words = "a7.png: a crop of 32x32 does not fit frames of 30x24"
    assert train(folder, settings=SMALL + crop) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert set(read) <= {"0"}
    assert not (folder / "run").exists()


def test_sizes_of_flow_files_come_from_their_first_bytes(tmp_path: Path) -> None:
    flow = np.ones((5, 7, 2), np.float32)
    for name in ("a.flo", "a.png", "a.pfm", "a.npy"):
        write_flow(tmp_path / name, flow)
        assert flow_size(tmp_path / name) == (5, 7)
    (tmp_path / "a.flo").write_bytes((tmp_path / "a.flo").read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        flow_size(tmp_path / "a.flo")


def test_ground_truth_without_a_valid_pixel_is_named(folder: Path, capsys) -> None:
    """The first pair's at once, another's when it is drawn: its steps would change nothing."""
    empty = np.full((40, 48, 2), np.nan, np.float32)
    write_flow(folder / "f0.flo", np.zeros_like(empty), np.zeros((40, 48), bool))
    assert train(folder) == 2
    assert "f0.flo has no valid pixel" in capsys.readouterr().err
    assert not (folder / "run").exists()
    write_flow(folder / "f0.flo", np.ones((40, 48, 2), np.float32))
    for number in range(1, 11):
        write_flow(folder / f"f{number}.flo", empty)
    assert train(folder) == 2
    said = capsys.readouterr().err
    assert "has no valid pixel" in said
    assert not (folder / "run" / "wren.safetensors").exists()


def test_a_validation_set_without_a_valid_pixel_is_an_error(folder: Path, capsys) -> None:
    write_flow(folder / "f9.flo", np.full((40, 48, 2), np.nan, np.float32))  # the tenth line is held out
    assert train(folder, settings=[*SMALL[:4], "validate_every=1"]) == 2
    assert "ground truth of the validation set 'pairs/val'" in capsys.readouterr().err
    assert not (folder / "run" / "wren.safetensors").exists()


def test_pairs_that_are_not_there_are_counted_and_named(folder: Path, caplog) -> None:
    changed(folder, "f3.flo", "nope.flo")
    changed(folder, "a5.png", "gone.png")
    caplog.set_level("INFO")
    assert train(folder) == 0
    notes = [record.getMessage() for record in caplog.records if "are there" in record.getMessage()]
    assert len(notes) == 1
    assert "pairs: 9 of 11 pairs are there, the first file that is missing is" in notes[0]
    assert notes[0].endswith("nope.flo")


def test_pairs_without_a_reverse_or_labels_are_counted(folder: Path) -> None:
    with (folder / "pairs.txt").open("a") as file:
        file.write("b0.png a0.png f1.flo\n")
    source = sources.open_source("pairs", folder, both_directions=True)
    assert source.notes == ["10 of 12 pairs are left out: the reverse of them is not there"]
    (folder / "labels").mkdir()
    (folder / "labels" / "pairs.txt").write_text("../a2.png\t../b2.png\t../f2.flo\n")
    assert sources.open_source("pairs", folder, "labels").notes == ["1 of 12 pairs has labels"]
    write_flow(folder / "f2.flo", np.ones((39, 48, 2), np.float32))
    write_flow(folder / "g2.flo", np.ones((40, 48, 2), np.float32))
    changed(folder, "f2.flo", "g2.flo")
    with pytest.raises(InputError, match=r"f2.flo has 48x39 pixels"):
        sources.open_source("pairs", folder, "labels")[2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("my a.png my b.png my f.flo", "found 6"),
        ("a0.png", "line 12"),
        ("a0.png b0.png", "2 paths"),
    ],
)
def test_faults_of_the_list_are_told_as_such(folder: Path, line: str, words: str, capsys) -> None:
    """With early stopping on, too."""
    with (folder / "pairs.txt").open("a") as file:
        file.write(f"{line}\n")
    assert train(folder, settings=SMALL[:4]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "early stopping" not in said
    assert "patience" not in said


def test_too_few_pairs_for_a_validation_set_say_what_to_do(folder: Path, capsys) -> None:
    lines = (folder / "pairs.txt").read_text().splitlines()
    (folder / "pairs.txt").write_text("\n".join(lines[:5]) + "\n")
    assert train(folder, settings=SMALL[:4]) == 2
    assert "--set patience=0" in capsys.readouterr().err


class Faulty:
    """Samples of which the sixth cannot be read."""

    def __getitem__(self, number: int) -> int:
        if number == 5:
            raise InputError("f5.flo is truncated")
        return number


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_comes_out_of_another_process_as_it_went_in(workers: int) -> None:
    from flowzoo.distributed import Ranks

    found = batches(Data(Faulty(), list), 0, Stage(steps=4, batch=2), Ranks(), workers)
    assert [next(found), next(found)] == [[0, 1], [2, 3]]
    with pytest.raises(InputError) as caught:
        next(found)
    assert str(caught.value) == "f5.flo is truncated"


class Deadly:
    """Samples whose process is killed."""

    def __getitem__(self, number: int) -> int:
        import os
        import signal

        if number:
            os.kill(os.getpid(), signal.SIGKILL)
        return number


def test_a_killed_process_is_one_line() -> None:
    from flowzoo.distributed import Ranks

    found = batches(Data(Deadly(), list), 0, Stage(steps=40, batch=1), Ranks(), 1)
    with pytest.raises(InputError, match="fewer --workers"):
        list(found)


def test_processes_that_are_ended_with_the_run_are_no_fault_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal to all processes of a run ends those that prepare batches while this one already stops them."""
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    from flowzoo.distributed import Ranks

    stop = _MultiProcessingDataLoaderIter._shutdown_workers

    def interrupted(loader: _MultiProcessingDataLoaderIter) -> None:
        """As torch's handler of SIGCHLD does it, in the middle of the first call."""
        already = loader._shutdown
        stop(loader)
        if not already:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_shutdown_workers", interrupted)
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    found = batches(Data(range(100), list), 0, Stage(steps=40, batch=1), Ranks(), 1)
    assert next(found) == [0]
    found.close()
    del found
    gc.collect()
    assert told == []
