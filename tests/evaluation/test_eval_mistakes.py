"""Every mistake of the user is one line on standard error and status 2."""

from pathlib import Path

import numpy as np
import pytest
from evaluation_samples import make_chairs, make_kitti

from flowzoo.cli.parser import run
from flowzoo.datasets.middlebury import SCENES
from flowzoo.files.flow import read_flow, write_flow

BASE = ("evaluate", "flyingchairs", "--partial")


@pytest.fixture
def chairs(tmp_path: Path) -> tuple[Path, Path]:
    """A data set of three pairs and a folder of predictions."""
    return tmp_path / "chairs", make_chairs(tmp_path / "chairs", 3)


def failure(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that the command fails with."""
    assert run([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def score(capsys: pytest.CaptureFixture[str], chairs: tuple[Path, Path], *words: object) -> str:
    return failure(capsys, *BASE, "--root", chairs[0], "--predictions", chairs[1], *words)


def test_predictions_are_fine(chairs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BASE, "--root", str(chairs[0]), "--predictions", str(chairs[1])]) == 0
    assert "3 of 640 pairs" in capsys.readouterr().out


def test_missing_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scene in SCENES:
        for folder, name in ((tmp_path / "m/other-gt-flow", "flow10.flo"), (tmp_path / "p", "flow10.flo")):
            write_flow(folder / scene / name, np.zeros((4, 4, 2), np.float32))
    (tmp_path / "p" / SCENES[1] / "flow10.flo").unlink()
    words = ("evaluate", "middlebury", "--root", tmp_path / "m", "--predictions", tmp_path / "p")
    message = failure(capsys, *words)
    assert f"lacks 1 of 8 files, first {SCENES[1]}/flow10.flo" in message
    assert "--partial" in message
    (tmp_path / "empty").mkdir()
    message = failure(capsys, *words[:-1], tmp_path / "empty", "--partial")
    assert "lacks 8 of 8 files" in message


def test_extra_prediction(chairs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_flow(chairs[1] / "deep" / "00009_flow.flo", np.zeros((4, 4, 2), np.float32))
    assert "deep/00009_flow.flo" in score(capsys, chairs)


def test_prediction_of_the_wrong_size(chairs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_flow(chairs[1] / "00002_flow.flo", np.zeros((16, 23, 2), np.float32))
    message = score(capsys, chairs)
    assert "00002_flow.flo is 23x16" in message
    assert "expected 24x16" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.7e9])
def test_prediction_with_holes(chairs: tuple[Path, Path], capsys: pytest.CaptureFixture[str], value: float) -> None:
    path = chairs[1] / "00003_flow.flo"
    flow, _ = read_flow(path)
    flow[2, 3, 1] = value
    path.write_bytes(path.read_bytes()[:12] + flow.astype("<f4").tobytes())
    message = score(capsys, chairs)
    assert "00003_flow.flo: 1 of 384 pixels" in message
    assert "NaN" in message


def test_truncated_prediction(chairs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = chairs[1] / "00001_flow.flo"
    path.write_bytes(path.read_bytes()[:-5])
    assert "00001_flow.flo is truncated" in score(capsys, chairs)


def test_truncated_kitti_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = make_kitti(tmp_path / "kitti", 2015, 2)
    path = predictions / "000001_10.png"
    path.write_bytes(path.read_bytes()[:-40])
    words = ("evaluate", "kitti-2015", "--partial", "--root", tmp_path / "kitti", "--predictions", predictions)
    assert "000001_10.png" in failure(capsys, *words)


def test_wrong_folders_and_names(chairs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = chairs[0]
    assert "did you mean 'kitti-2015'" in failure(capsys, "evaluate", "kitti2015", "--root", root)
    assert "give --root" in failure(capsys, "evaluate", "kitti-2015")
    assert "no such folder" in failure(capsys, *BASE, "--root", tmp_path / "none")
    assert "no such folder" in failure(capsys, *BASE, "--root", root, "--predictions", tmp_path / "none")
    assert "did you mean 'train'" in failure(capsys, *BASE, "--root", root, "--subset", "trian")
    message = failure(capsys, "evaluate", "sintel-clean", "--root", root)
    assert "training" in message
    assert "frame_NNNN.png" in message


def test_incomplete_data_set(chairs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("evaluate", "flyingchairs", "--root", chairs[0], "--predictions", chairs[1])
    assert "3 of 640 pairs" in failure(capsys, *words)
    (chairs[0] / "data" / "00002_img1.ppm").unlink()
    message = failure(capsys, *words)
    assert "2 of 640 pairs, missing 1 file such as data/00002_img1.ppm" in message
    assert "--partial" in message


def test_options_that_do_not_fit(chairs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--limit must be at least 1" in score(capsys, chairs, "--limit", 0)
    assert "--batch-size must be at least 1" in score(capsys, chairs, "--batch-size", 0)
    assert "FlyingChairs has no masks of invalid pixels" in score(capsys, chairs, "--mask-invalid")
    assert "--pictures needs --worst" in score(capsys, chairs, "--pictures", tmp_path)
    assert "it is a folder" in score(capsys, chairs, "--json", tmp_path)
    assert "flyingchairs has no server" in score(capsys, chairs, "--submission", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_ground_truth(chairs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (chairs[0] / "data" / "00002_flow.flo").write_bytes(b"PIEH")
    assert "00002_flow.flo" in score(capsys, chairs)
