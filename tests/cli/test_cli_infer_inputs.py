"""`flowzoo infer`: every kind of input, and nothing of it or of the options lost in silence."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_samples import picture

import flowzoo
from flowzoo.checkpoints import save_weights
from flowzoo.cli import main
from flowzoo.files.images import read_image, write_image
from flowzoo.files.video import VideoWriter
from flowzoo.inference.estimator import Estimator


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(flowzoo.create("liteflownetx"), path)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with three frames in `walk`."""
    for index in range(3):
        write_image(tmp_path / "walk" / f"w{index}.png", picture(index, 32, 48))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out, said.err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    status, _, error = run(capsys, "infer", *words)
    assert status == 2
    assert error.count("\n") == 1
    return error


def clip(path: Path, frames: int) -> Path:
    with VideoWriter(path, 25) as writer:
        for index in range(frames):
            writer.write(picture(index, 32, 48))
    return path


LISTS = {
    "tabs": "my walk/a 0.png\tmy walk/b 1.png\n",
    "commas": "my walk/a 0.png,my walk/b 1.png,zero.flo\n",
    "quotes": '"my walk/a 0.png" "my walk/b 1.png"  # a comment\n',
    "mark": "\ufeffmy walk/a 0.png\tmy walk/b 1.png\r\n",
    "backslashes": "my walk\\a 0.png\tmy walk\\b 1.png\n",
    "absolute": "{here}/my walk/a 0.png\t{here}/my walk/b 1.png\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_means_the_same_to_infer_and_distill(
    kind: str, here: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "walk").rename(here / "my walk")
    (here / "my walk" / "w0.png").rename(here / "my walk" / "a 0.png")
    (here / "my walk" / "w1.png").rename(here / "my walk" / "b 1.png")
    encoding = "utf-16-le" if kind == "mark" else "utf-8"
    (here / "l.txt").write_bytes(LISTS[kind].format(here=here).encode(encoding))
    status, said, error = run(capsys, "infer", "--pairs", "l.txt", "--weights", weights, "-o", "out", "--no-pictures")
    assert (status, error) == (0, "")
    assert ("third column" in said) == (kind == "commas")
    assert os.listdir("out") == ["a 0.flo"]
    images = [read_image(here / "my walk" / name) for name in ("a 0.png", "b 1.png")]
    expected = Estimator(flowzoo.create("liteflownetx", weights))(*images).flow
    np.testing.assert_array_equal(flowzoo.read_flow("out/a 0.flo")[0], expected)
    assert run(capsys, "distill", "--pairs", "l.txt", "--weights", weights, "-o", "labels")[0] == 0
    assert sorted(os.listdir("labels")) == ["a 0.png", "pairs.txt"]


def test_a_fault_of_a_list_names_its_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "l.txt").write_text("# images\nwalk/w0.png walk/w1.png\nwalk/w1.png walk/none.png\n")
    assert "the list l.txt, line 3: walk/none.png does not exist" in refused(capsys, "--pairs", "l.txt")
    (here / "walk" / "none.png").write_text("no image")
    assert "the list l.txt, line 3: walk/none.png is no image" in refused(capsys, "--pairs", "l.txt")
    status, _, error = run(capsys, "distill", "--pairs", "l.txt", "-o", "out")
    assert status == 2
    assert "line 3" in error


def test_partial_leaves_out_what_is_missing_or_damaged(
    here: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--weights", weights, "--no-pictures"]
    (here / "l.txt").write_text("walk/w0.png walk/w1.png\nwalk/w1.png walk/none.png\nwalk/w1.png walk/w2.png\n")
    status, said, _ = run(capsys, "infer", "--pairs", "l.txt", "-o", "out", *base, "--partial")
    assert status == 0
    assert said.count("left out 1 of 3 lines, first: the list l.txt, line 2") == 1
    assert sorted(os.listdir("out")) == ["w0.flo", "w1.flo"]
    (here / "none.txt").write_text("x.png y.png\n")
    assert "no pair of the list none.txt" in refused(capsys, "--pairs", "none.txt", "--partial")
    write_image(here / "walk" / "w3.png", picture(3, 32, 48))
    content = (here / "walk" / "w2.png").read_bytes()
    (here / "walk" / "w2.png").write_bytes(content[: len(content) // 2])
    assert "w2.png" in refused(capsys, "walk", "-o", "cut", *base)
    status, said, _ = run(capsys, "infer", "walk", "-o", "part", *base, "--partial")
    assert status == 0
    assert said.count("left out 2 pairs with damaged images, first: walk/w2.png") == 1
    assert os.listdir("part") == ["w0.flo"]


def test_one_pair_may_go_to_one_file_wherever_it_comes_from(
    here: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "walk" / "w2.png").unlink()
    (here / "l.txt").write_text("walk/w0.png walk/w1.png\n")
    for words in (["walk"], ["--pairs", "l.txt"], [clip(here / "two.mp4", 2)], [clip(here / "two.webm", 2)]):
        assert run(capsys, "infer", *words, "-o", "two.flo", "--weights", weights, "--picture", "two.png")[0] == 0
        assert flowzoo.read_flow("two.flo")[0].shape == (32, 48, 2)
        (here / "two.flo").unlink()
    assert "many pairs" in refused(capsys, clip(here / "three.mkv", 3), "-o", "two.flo")


def test_options_that_the_output_cannot_hold(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--backward"], ["--occlusion"], ["--warped"], ["--confidence"], ["--format", "npy"]):
        message = refused(capsys, "walk", "-o", "c.mp4", *words)
        assert f"cannot hold what {' '.join(words)} asks for" in message
    for option, values in (("--max-flow", ("0", "nan", "inf", "-1")), ("--memory", ("0", "nan"))):
        for value in values:
            assert "above 0" in refused(capsys, "walk", "-o", "out", option, value)
    assert "--clip" in refused(capsys, "walk", "-o", "out", "--clip")
    assert "--legend" in refused(capsys, "walk", "-o", "out", "--no-pictures", "--legend")
    assert "contradict" in refused(capsys, "walk/w0.png", "walk/w1.png", "--picture", "x.png", "--no-pictures")
    assert "--no-pictures" in refused(capsys, "walk/w0.png", "walk/w1.png", "-o", "x.png", "--no-pictures")
    assert "--pattern" in refused(capsys, "walk/w0.png", "walk/w1.png", "--pattern", "*.png")
    assert sorted(os.listdir(here)) == ["walk"]


def test_what_is_skipped_is_said_once_or_refused(here: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "walk" / "notes.txt").write_text("of the walk")
    status, said, _ = run(capsys, "infer", "walk", "-o", "out", "--weights", weights, "--no-pictures")
    assert status == 0
    assert said.count("left out of walk, no images: 1 entry (notes.txt)") == 1
    assert sorted(os.listdir("out")) == ["w0.flo", "w1.flo"]
    (here / "walk" / "w1.png").rename(here / "walk" / "w7.png")
    assert "5 frames are missing, first between w0.png and w2.png" in refused(capsys, "walk", "-o", "gap")
    status, said, _ = run(capsys, "infer", "walk", "-o", "gap", "--weights", weights, "--partial", "--no-pictures")
    assert status == 0
    assert "pairs go over the gaps" in said
    write_image(here / "walk" / "w2.bmp", picture(1, 32, 48))
    assert "one frame twice" in refused(capsys, "walk", "-o", "twice", "--partial")


def test_a_cut_video_is_refused_unless_asked_for(here: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = clip(here / "c.avi", 8).read_bytes()
    (here / "c.avi").write_bytes(content[: int(0.7 * len(content))])
    assert "truncated" in refused(capsys, "c.avi", "-o", "out", "--weights", weights)
    assert not (here / "out").exists()
    words = ["infer", "c.avi", "-o", "out", "--weights", weights, "--partial", "--no-pictures"]
    status, said, _ = run(capsys, *words)
    assert status == 0
    assert said.count("taking the frames that are there") == 1
    assert 2 <= len(os.listdir("out")) < 7


def test_a_video_is_known_by_its_content(here: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip(here / "c.mkv", 3).rename(here / "recording")
    assert run(capsys, "infer", "recording", "-o", "out", "--weights", weights, "--no-pictures")[0] == 0
    assert sorted(os.listdir("out")) == ["recording_000000.flo", "recording_000001.flo"]
    assert "is one image: give a second image" in refused(capsys, "walk/w0.png")
    clip(here / "one.mp4", 1)
    assert "fewer than two frames" in refused(capsys, "one.mp4")
    (here / "text.mp4").write_text("ffconcat version 1.0\nfile one.mp4\n")
    assert "no video" in refused(capsys, "text.mp4")


def test_with_nothing_to_do_no_network_is_made(
    here: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip(here / "c.webm", 3)
    runs = [["walk", "-o", "out"], ["c.webm", "-o", "out"], ["walk", "-o", "c.mp4"]]
    runs += [["walk/w0.png", "walk/w1.png", "-o", "w.flo"]]
    for words in runs:
        assert run(capsys, "infer", *words, "--weights", weights, "--max-flow", "3", "--skip-existing")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("flowzoo.cli.common.make_network", lambda _: pytest.fail("a network was made"))
        for words in runs:
            status, said, _ = run(capsys, "infer", *words, "--skip-existing")
            assert status == 0
            assert said.startswith("nothing to do")
    (here / "out" / "c_000001.flo").unlink()
    status, said, _ = run(capsys, "infer", "c.webm", "-o", "out", "--weights", weights, "--skip-existing")
    assert status == 0
    assert "wrote 1 pair " in said


def test_names_that_differ_in_case_only_are_told_apart(
    here: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(here / "walk" / "W0.png", picture(5, 32, 48))
    (here / "l.txt").write_text("walk/w0.png walk/w1.png\nwalk/W0.png walk/w1.png\n")
    assert run(capsys, "infer", "--pairs", "l.txt", "-o", "out", "--weights", weights, "--no-pictures")[0] == 0
    assert sorted(os.listdir("out")) == ["1_w0.flo", "2_W0.flo"]


def test_pictures_stay_out_of_the_folder_of_frames(
    here: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "among the frames" in refused(capsys, "walk", "-o", "walk", "--no-pictures", "--occlusion")
    assert run(capsys, "infer", "walk", "-o", "walk", "--no-pictures", "--weights", weights)[0] == 0
    assert sorted(os.listdir("walk")) == ["w0.flo", "w0.png", "w1.flo", "w1.png", "w2.png"]


def test_loading_weights_does_not_load_torchs_compiler(here: Path) -> None:
    """It takes longer than all the rest of a small run."""
    code = (
        "import sys; from flowzoo.cli import main\n"
        "assert main(['infer', 'walk/w0.png', 'walk/w1.png', '-o', 'x.flo']) == 0\n"
        "sys.exit(7 * ('torch._dynamo' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
