"""No command replaces what it reads; each refuses before anything is computed."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_samples import make_chairs, make_kitti, picture

import flowzoo
from flowzoo.checkpoints import save_weights
from flowzoo.cli import main
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image


@pytest.fixture
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with three frames in `walk`, a list of two pairs and a folder `out`."""
    for index in range(3):
        write_image(tmp_path / "walk" / f"w{index}.png", picture(index, 32, 48))
    (tmp_path / "list.txt").write_text("walk/w0.png walk/w1.png\nwalk/w1.png walk/w2.png\n")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was made before the files were compared")

    monkeypatch.setattr("flowzoo.cli.common.make_network", refuse)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> str:
    """The one line of a command that ends with status 2 and changes no file."""
    before = contents(folder)
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert len(said.err) < 1000
    assert contents(folder) == before
    return said.err


@pytest.mark.parametrize(
    "words",
    [
        ["walk", "-o", "walk"],
        ["walk", "-o", "walk/../walk/"],
        ["walk", "-o", "link"],
        ["link", "-o", "walk"],
        ["links", "-o", "links"],
        ["links", "-o", "walk"],
        ["walk/w0.png", "walk/w1.png", "-o", "walk"],
        ["walk/w0.png", "walk/w1.png", "-o", "walk/w0.png"],
        ["walk/w0.png", "walk/w1.png", "-o", "walk/w1.png", "--format", "kitti"],
        ["walk/w0.png", "walk/w1.png", "-o", "walk/W1.png"],
        ["walk/w0.png", "walk/w1.png", "-o", "x.flo", "--picture", "walk/w1.png"],
        ["walk/w0.png", "walk/w1.png", "-o", "hard.png"],
        ["walk/w0.png", "w0_warped.png", "-o", "w0.flo", "--warped"],
        ["--pairs", "list.txt", "-o", "walk"],
        ["--pairs", "list.flo", "-o", "one.flo"],
    ],
)
def test_infer(words: list[str], frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (frames / "link").symlink_to("walk")
    (frames / "links").mkdir()
    for index in range(3):
        (frames / "links" / f"w{index}.png").symlink_to(frames / "walk" / f"w{index}.png")
    (frames / "hard.png").hardlink_to(frames / "walk" / "w1.png")
    write_image(frames / "w0_warped.png", picture(7, 32, 48))
    (frames / "list.flo").write_text("walk/w0.png walk/w1.png\n")
    (frames / "one.flo").symlink_to("list.flo")
    message = refused(capsys, frames, "infer", *words)
    assert "is an input" in message or "is the input" in message or "one file" in message


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-o", "x.png", "--format", "kitti", "--picture", "x.png"], "would both be written to x.png"),
        (["-o", "x.flo", "--picture", "X.png", "--picture", "x_occlusion.png", "--occlusion"], "x_occlusion.png"),
        (["-o", "x.flo", "--picture", "x_WARPED.png", "--warped"], "one file"),
    ],
)
def test_two_outputs_of_a_pair(words: list[str], part: str, frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert part in refused(capsys, frames, "infer", "walk/w0.png", "walk/w1.png", *words)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a", "a_backward"), ["--backward"]),
        (("a", "a_occlusion"), ["--occlusion"]),
        (("a", "a_colour"), ["--format", "kitti"]),
    ],
)
def test_two_pairs_on_one_output(
    names: tuple[str, str], words: list[str], frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        write_image(frames / f"{name}.png", picture(1, 32, 48))
    (frames / "list.txt").write_text("".join(f"{name}.png walk/w0.png\n" for name in names))
    message = refused(capsys, frames, "infer", "--pairs", "list.txt", "-o", "out", *words)
    assert "would both be written" in message


def test_distill(frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (frames / "labels").mkdir()
    (frames / "labels" / "pairs.txt").write_text("../walk/w0.png ../walk/w1.png\n")
    assert "the list of labels" in refused(capsys, frames, "distill", "--pairs", "labels/pairs.txt", "-o", "labels")
    assert "is an input" in refused(capsys, frames, "distill", "--pairs", "list.txt", "-o", "walk", "--overwrite")
    make_kitti(frames / "kitti", 2015, 2)
    truth = frames / "kitti" / "training" / "flow_occ"
    words = ["kitti-2015", "--root", "kitti", "--partial", "-o", truth, "--overwrite"]
    assert "000000_10.png" in refused(capsys, frames, "distill", *words)


def test_evaluate(frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = make_chairs(frames / "chairs", 2)
    words = ["evaluate", "flyingchairs", "--partial", "--root", "chairs", "--predictions", predictions]
    truth = "chairs/data/00001_flow.flo"
    assert "is an input" in refused(capsys, frames, *words, "--json", truth)
    assert "is an input" in refused(capsys, frames, *words, "--csv", predictions / "00002_flow.flo")
    assert "both be written" in refused(capsys, frames, *words, "--csv", "x", "--json", "./x")
    assert "error maps" in refused(capsys, frames, *words, "--worst", 1, "--pictures", "chairs/data")
    write_flow(frames / "0.flo", np.zeros((32, 48, 2), np.float32))
    (frames / "three.txt").write_text("walk/w0.png walk/w1.png 0.flo\n")
    assert "is an input" in refused(capsys, frames, "evaluate", "pairs", "--root", "three.txt", "--json", "three.txt")
    words = ["evaluate", "pairs", "--root", "three.txt", "--weights", "w.bin"]
    (frames / "w.bin").write_bytes(b"weights")
    assert "is an input" in refused(capsys, frames, *words, "--json", "w.bin")


def test_synth(frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["synth", "--count", 1, "--procedural", 2]
    (frames / "mine").mkdir()
    (frames / "mine" / "pairs.txt").write_text("a b c\n")
    assert "not its own" in refused(capsys, frames, *words, "-o", "mine")
    (frames / "mine" / "pairs.txt").rename(frames / "mine" / "0000000-flow_01.flo")
    assert "0000000-flow_01.flo" in refused(capsys, frames, *words, "-o", "mine")
    (frames / "walk" / "w2.png").rename(frames / "walk" / "0000000-img_0.png")
    assert "is an input" in refused(capsys, frames, *words, "--textures", "walk", "-o", "walk")


def test_rendered_images_do_not_become_textures(frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["synth", "--count", 1, "--textures", "walk"]
    assert "whose images are drawn from" in refused(capsys, frames, *words, "-o", "walk/new")
    assert "whose images are drawn from" in refused(capsys, frames, *words, "-o", "walk")


def test_weights_and_bench(frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    save_weights(flowzoo.create("liteflownetx"), frames / "x.safetensors")
    words = ["weights", "import", "x.safetensors", "--model", "liteflownetx", "-o"]
    assert "is an input" in refused(capsys, frames, *words, "./x.safetensors")
    assert "is the input" in refused(capsys, frames, *words, "X.safetensors")
    assert "cannot write walk" in refused(capsys, frames, "bench", "operators", "--json", "walk")


def test_train(frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (frames / "wren.safetensors").write_bytes(b"weights to start from")
    words = ["train", "finetune", "--data", "list.txt", "--model", "wren", "--weights", "wren.safetensors"]
    assert "is the input" in refused(capsys, frames, *words, "-o", frames)
    assert "list.txt is a file" in refused(capsys, frames, *words, "-o", "list.txt")


def test_what_is_allowed_beside_the_inputs(frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An earlier result may be replaced, and results may lie beside the inputs under other names."""
    predictions = make_chairs(frames / "chairs", 2)
    (frames / "old.json").write_text("{}")
    words = ["evaluate", "flyingchairs", "--partial", "--root", "chairs", "--predictions", predictions]
    assert main([*map(str, words), "--json", "old.json", "--csv", "chairs/data/all.csv"]) == 0
    assert json.loads((frames / "old.json").read_text())["pairs"] == 2
    assert (frames / "chairs" / "data" / "all.csv").is_file()
