"""`flowzoo evaluate` takes what `flowzoo infer` wrote, parts of a data set, and says what it cannot score."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_samples import make_chairs, make_kitti, picture

import flowzoo
from flowzoo.checkpoints import save_weights
from flowzoo.cli.parser import run
from flowzoo.datasets.catalogue import dataset_class, open_dataset
from flowzoo.datasets.dataset import Pair
from flowzoo.errors import InputError
from flowzoo.evaluation.run import Evaluation
from flowzoo.evaluation.submission import Submission
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(flowzoo.create("liteflownetx"), path)
    return str(path)


def make_sintel(root: Path, scenes: dict[str, int], splits: tuple[str, ...] = ("training",)) -> Path:
    """The first frames of some scenes of the clean pass, with ground truth of zero."""
    for split in splits:
        for scene, frames in scenes.items():
            for index in range(1, frames + 1):
                write_image(root / split / "clean" / scene / f"frame_{index:04d}.png", picture(index, 16, 24))
                if index < frames and split == "training":
                    flow = np.zeros((16, 24, 2), np.float32)
                    write_flow(root / split / "flow" / scene / f"frame_{index:04d}.flo", flow)
    return root


def scores(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    """The JSON of one evaluation that goes well."""
    target = Path("scores.json")
    target.unlink(missing_ok=True)
    assert run(["evaluate", *map(str, words), "--json", str(target)]) == 0, capsys.readouterr().err
    found: dict[str, object] = json.loads(target.read_text())
    return found


def test_the_folder_of_a_kitti_run_with_all_its_pictures(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_kitti(tmp_path / "kitti", 2015, 3, height=32, width=48)
    words = ["infer", "kitti/training/image_2", "--format", "kitti", "--clip", "-o", "p", "--weights", weights]
    assert run([*words, "--backward", "--occlusion", "--warped", "--confidence"]) == 0
    assert Path("p/000000_11.png").is_file()  # from one pair's second image to the next pair's first
    base = ["kitti-2015", "--root", "kitti", "--partial"]
    found = scores(capsys, *base, "--predictions", "p")
    assert found["pairs"] == 3
    direct = scores(capsys, *base, "--weights", weights)
    assert found["metrics"]["epe"] == pytest.approx(direct["metrics"]["epe"], abs=0.02)
    Path("p/000000_10.png").rename("p/000009_12.png")
    assert run(["evaluate", *base, "--predictions", "p"]) == 2
    assert "of no pair of kitti-2015, first 000009_12.png" in capsys.readouterr().err


def test_files_named_after_the_first_images(tmp_path: Path) -> None:
    predictions = make_chairs(tmp_path / "chairs", 2)
    plain = Evaluation("flyingchairs", tmp_path / "chairs", partial=True, predictions=predictions).run()
    for index in (1, 2):
        (predictions / f"{index:05d}_flow.flo").rename(predictions / f"{index:05d}_img1.flo")
        write_image(predictions / f"{index:05d}_img1.png", picture(0, 16, 24))
    write_flow(predictions / "00001_img1_backward.flo", np.zeros((16, 24, 2), np.float32))
    write_flow(predictions / "00001_img2.flo", np.zeros((16, 24, 2), np.float32))
    named = Evaluation("flyingchairs", tmp_path / "chairs", partial=True, predictions=predictions).run()
    assert plain is not None
    assert named is not None
    assert named.metrics == plain.metrics
    assert named.pairs == 2


def test_a_list_of_scenes_with_files_of_one_name(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = []
    for scene in ("s1", "s2"):
        for index in range(2):
            write_image(tmp_path / scene / f"{index}.png", picture(index + len(lines), 32, 48))
        write_flow(tmp_path / scene / "f.flo", np.zeros((32, 48, 2), np.float32))
        lines.append(f"{scene}/0.png {scene}/1.png {scene}/f.flo\n")
    (tmp_path / "l.txt").write_text("".join(lines))
    assert run(["infer", "--pairs", "l.txt", "--weights", weights, "-o", "p", "--backward"]) == 0
    assert Path("p/s2_0.flo").is_file()
    found = scores(capsys, "pairs", "--root", "l.txt", "--predictions", "p")
    direct = scores(capsys, "pairs", "--root", "l.txt", "--weights", weights)
    assert found["per_pair"] == direct["per_pair"]


def test_one_scene_of_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_sintel(tmp_path / "MPI-Sintel", {"alley_1": 4, "ambush_2": 3})
    for index in (1, 2, 3):
        write_flow(Path("p") / "alley_1" / f"frame_{index:04d}.flo", np.full((16, 24, 2), 3, np.float32))
    words = ["sintel-clean", "--root", "MPI-Sintel", "--predictions", "p"]
    found = scores(capsys, *words, "--partial")
    assert found["pairs"] == 3
    assert "predictions are there for 3 of 5 pairs" in found["notes"]
    assert found["metrics"]["epe"] == pytest.approx(3 * 2**0.5)
    assert run(["evaluate", *words]) == 2
    capsys.readouterr()
    assert scores(capsys, *words, "--partial", "--limit", 2)["pairs"] == 2


@pytest.mark.parametrize("root", ["", "MPI-Sintel", "MPI-Sintel/training", "MPI-Sintel/training/clean", "link"])
def test_a_part_of_the_data_set_stands_for_the_whole(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sintel(tmp_path / "MPI-Sintel", {"alley_1": 3}, ("training", "test"))
    (tmp_path / "link").symlink_to("MPI-Sintel")
    for place in (tmp_path / root, Path(root or ".")):
        monkeypatch.chdir(tmp_path)
        dataset = open_dataset("sintel-clean", place, partial=True)
        assert (dataset.subset, len(dataset)) == ("training", 2)
    monkeypatch.chdir(tmp_path / root)
    assert len(open_dataset("sintel-clean", ".", partial=True)) == 2


def test_the_folder_of_a_split_chooses_it(tmp_path: Path) -> None:
    make_sintel(tmp_path / "MPI-Sintel", {"ambush_1": 3}, ("test",))
    dataset = open_dataset("sintel-clean", tmp_path / "MPI-Sintel" / "test", partial=True)
    assert (dataset.subset, len(dataset)) == ("test", 2)
    with pytest.raises(InputError, match="no MPI-Sintel clean"):
        open_dataset("sintel-clean", tmp_path / "MPI-Sintel" / "test", "training", partial=True)


def test_ground_truth_without_a_valid_pixel(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(0, 8, 9))
    write_image(tmp_path / "b.png", picture(1, 8, 9))
    flow, known = np.ones((8, 9, 2), np.float32), np.zeros((8, 9), bool)
    write_flow(tmp_path / "none.png", flow, known)
    np.save(tmp_path / "none.npy", np.full((8, 9, 2), np.nan, np.float32))
    write_flow(tmp_path / "all.flo", flow)
    lines = {name: f"a.png b.png {name}\n" for name in ("none.png", "none.npy", "all.flo")}
    for name in lines:
        write_flow(tmp_path / "p" / name, flow * 2)
    for chosen in (["none.png"], ["none.npy", "none.png"]):
        (tmp_path / "l.txt").write_text("".join(lines[name] for name in chosen))
        for name in set(lines) - set(chosen):
            (tmp_path / "p" / name).unlink(missing_ok=True)
        with pytest.raises(InputError, match="no pixel of the ground truth of any pair is valid, none"):
            Evaluation("pairs", tmp_path / "l.txt", predictions=tmp_path / "p").run()
        for name in lines:
            write_flow(tmp_path / "p" / name, flow * 2)
    (tmp_path / "p" / "none.npy").unlink()
    (tmp_path / "l.txt").write_text(lines["none.png"] + lines["all.flo"])
    report = Evaluation("pairs", tmp_path / "l.txt", predictions=tmp_path / "p").run()
    assert report is not None
    assert report.metrics["epe"] == pytest.approx(2**0.5)
    assert "no pixel of the ground truth is valid for 1 pair, first none" in report.notes


class TwoPairs:
    """A test split with two pairs."""

    name, subset, expected = "kitti-2012", "testing", 2
    server = dataset_class("kitti-2012").server
    pairs = tuple(Pair(f"{i}", Path("a"), Path("b"), None, f"{i}.png") for i in range(2))


def test_only_one_process_fills_a_submission(tmp_path: Path) -> None:
    first, second = (Submission(tmp_path / "up", TwoPairs(), 2) for _ in range(2))  # type: ignore[arg-type]
    first.begin()
    first.keep(TwoPairs.pairs[0], np.zeros((3, 4, 2), np.float32))
    with pytest.raises(InputError, match="in use by another evaluation"):
        second.begin()
    second.discard()
    assert (first.staging / "0.png").is_file()
    first.discard()
    assert list(tmp_path.iterdir()) == []
    second.begin()
    second.discard()


@pytest.mark.parametrize("name", ["", ".", "/", "..", "x/.."])
def test_a_submission_needs_a_folder_with_a_name(name: str) -> None:
    with pytest.raises(InputError, match="give a folder of its own"):
        Submission(Path(name), TwoPairs(), 2)  # type: ignore[arg-type]
