"""`flowzoo superresolve`: what it writes, in which pieces it computes, and what it refuses."""

import numpy as np
import pytest
import torch

from flowzoo import registry
from flowzoo.checkpoints import save_weights
from flowzoo.cli import main
from flowzoo.files.images import read_image, write_image
from flowzoo.inference import enlarger as enlarging
from flowzoo.inference.enlarger import Enlarger


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Small networks with random weights, by name."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    small = {
        "kestrel": {"blocks": 1, "channels": 8, "width": 8, "groups": 1, "frames": 3, "flow": "spynet"},
        "basicvsr": {"blocks": 1, "channels": 8},
        "tdan": {"channels": 8, "extract_blocks": 1, "reconstruct_blocks": 1},
        "toflow": {},
        "wren": {},
    }
    files = {}
    for name, settings in small.items():
        files[name] = folder / f"{name}.safetensors"
        save_weights(registry.build(name, **settings), files[name])
    return files


def make_frames(folder, count, size=(12, 20)):
    generator = np.random.default_rng(0)
    for index in range(count):
        write_image(folder / f"frame_{index}.png", generator.integers(0, 256, (*size, 3), dtype=np.uint8))
    return folder


def run(capsys, *words):
    status = main(["superresolve", *map(str, words)])
    return status, capsys.readouterr()


def refused(capsys, words, *arguments):
    status, said = run(capsys, *arguments)
    assert status == 2
    assert words in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert len(said.err) < 1000


@pytest.mark.parametrize("name", ["kestrel", "basicvsr", "tdan", "toflow"])
def test_a_folder_becomes_a_folder_of_larger_frames(name, weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 4)
    status, said = run(capsys, frames, "-o", tmp_path / "out", "--weights", weights[name])
    assert status == 0, said.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"frame_{i}.png" for i in range(4)]
    assert read_image(tmp_path / "out" / "frame_2.png").shape == (48, 80, 3)
    assert "20x12 -> 80x48" in said.out
    assert ("all frames at once" if name == "basicvsr" else "windows of") in said.out
    assert "wrote 4 frames" in said.out


def test_a_video_becomes_a_video_and_a_folder(weights, tmp_path, capsys):
    video = pytest.importorskip("flowzoo.files.video")
    pytest.importorskip("av")
    with video.VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for index in range(3):
            writer.write(np.full((16, 24, 3), 60 * index, np.uint8))
    status, said = run(capsys, tmp_path / "clip.mp4", "-o", tmp_path / "big.mp4", "--weights", weights["tdan"])
    assert status == 0, said.err
    with video.open_video(tmp_path / "big.mp4") as big:
        assert (big.height, big.width, big.rate, sum(1 for _ in big)) == (64, 96, 10, 3)
    status, _ = run(capsys, tmp_path / "clip.mp4", "-o", tmp_path / "out", "--weights", weights["tdan"])
    assert status == 0
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [f"clip_{i:06d}.png" for i in range(3)]


@pytest.mark.parametrize(("scale", "size"), [(2, (24, 40)), (3, (36, 60))])
def test_smaller_scales_and_other_formats(scale, size, weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 2)
    words = (frames, "-o", tmp_path / "out", "--weights", weights["kestrel"], "--scale", scale, "--format", "jpg")
    assert run(capsys, *words)[0] == 0
    assert read_image(tmp_path / "out" / "frame_0.jpg").shape[:2] == size


@pytest.mark.parametrize("name", ["kestrel", "basicvsr"])
def test_a_run_goes_on_where_another_stopped(name, weights, tmp_path, capsys):
    frames, out = make_frames(tmp_path / "in", 5), tmp_path / "out"
    chunk = ["--chunk", 2] if name == "basicvsr" else []
    words = [frames, "-o", out, "--weights", weights[name], "--skip-existing", *chunk]
    assert run(capsys, *words)[0] == 0
    wanted = {path.name: path.read_bytes() for path in out.iterdir()}
    kept = out / "frame_0.png"
    before = kept.stat().st_mtime_ns
    for index in (3, 4):
        (out / f"frame_{index}.png").unlink()
    assert run(capsys, *words)[0] == 0
    assert kept.stat().st_mtime_ns == before
    assert {path.name: path.read_bytes() for path in out.iterdir()} == wanted
    status, said = run(capsys, *words)
    assert status == 0
    assert "nothing to do" in said.out


def test_an_interrupted_run_leaves_complete_frames(weights, tmp_path, capsys, monkeypatch):
    frames, out = make_frames(tmp_path / "in", 5), tmp_path / "out"
    words = [frames, "-o", out, "--weights", weights["kestrel"], "--skip-existing"]
    whole = Enlarger.windows
    calls = []

    def stopped(self, windows):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, windows)

    monkeypatch.setattr(Enlarger, "windows", stopped)
    assert run(capsys, *words)[0] == 130
    assert sorted(path.name for path in out.iterdir()) == ["frame_0.png", "frame_1.png"]
    monkeypatch.setattr(Enlarger, "windows", whole)
    assert run(capsys, *words)[0] == 0
    assert len(list(out.iterdir())) == 5


def test_batches_give_what_single_windows_give(weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 5)
    for batch in (1, 3):
        words = (frames, "-o", tmp_path / str(batch), "--weights", weights["kestrel"], "--batch-size", batch)
        assert run(capsys, *words)[0] == 0
    for path in (tmp_path / "1").iterdir():
        difference = read_image(path).astype(int) - read_image(tmp_path / "3" / path.name)
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("name", ["kestrel", "basicvsr"])
def test_large_frames_run_in_tiles_and_the_output_says_so(name, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(enlarging, "TILE_UNIT", 16)
    frames = make_frames(tmp_path / "in", 3, size=(40, 150))
    network_bytes = registry.build(name, **({"flow": "spynet"} if name == "kestrel" else {})).bytes_per_pixel
    memory = network_bytes * 64 * 64 * (1 if name == "kestrel" else enlarging.CHUNK_LEAST) / 1e9
    for label, options in (("whole", []), ("tiled", ["--memory", memory])):
        status, said = run(capsys, frames, "-o", tmp_path / label, "--weights", weights[name], *options)
        assert status == 0, said.err
        assert ("overlapping tiles" in said.out) == (label == "tiled")
    one, two = (read_image(tmp_path / label / "frame_1.png").astype(int) for label in ("whole", "tiled"))
    assert one.shape == two.shape == (160, 600, 3)
    assert np.abs(one - two).mean() < 2


def test_chunks_overlap_and_the_output_says_so(weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 9)
    status, said = run(capsys, frames, "-o", tmp_path / "out", "--weights", weights["basicvsr"], "--chunk", 4)
    assert status == 0
    assert "chunks of 4 frames, 4 shared" in said.out
    assert len(list((tmp_path / "out").iterdir())) == 9


def test_half_precision(weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 2)
    words = (frames, "-o", tmp_path / "out", "--weights", weights["kestrel"], "--precision", "bfloat16")
    status, said = run(capsys, *words)
    assert status == 0
    assert "bfloat16" in said.out


def test_one_frame_is_no_clip(weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 1)
    refused(capsys, "1 frame: a clip has at least 2", frames, "--weights", weights["kestrel"])
    refused(capsys, "is one image", frames / "frame_0.png", "--weights", weights["kestrel"])


def test_frames_of_two_sizes_are_refused_before_anything_is_written(weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 3)
    write_image(frames / "frame_3.png", np.zeros((13, 20, 3), np.uint8))
    refused(
        capsys, "all frames of a clip have one size", frames, "-o", tmp_path / "out", "--weights", weights["kestrel"]
    )
    assert not (tmp_path / "out").exists()


def test_an_unreadable_frame_in_the_middle(weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 6)
    path = frames / "frame_3.png"
    path.write_bytes(path.read_bytes()[:200])
    refused(capsys, "frame_3.png", frames, "-o", tmp_path / "out", "--weights", weights["kestrel"])
    if (tmp_path / "out").exists():
        for written in (tmp_path / "out").iterdir():
            assert read_image(written).shape == (48, 80, 3)
    refused(capsys, "frame_3.png", frames, "-o", tmp_path / "out.mp4", "--weights", weights["kestrel"])
    assert not (tmp_path / "out.mp4").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "wren"], "use flowzoo infer"),
        (["--weights", "wren"], "use flowzoo infer"),
        (["--model", "edvr-m"], "has no weights of its own"),
        (["--scale", "5"], "--scale"),
        (["--batch-size", "0"], "--batch-size"),
        (["--memory", "0"], "--memory"),
        (["-o", "big.png"], "one picture"),
        (["-o", "big.mp4", "--format", "png"], "is a video"),
        (["--model", "edvr-m", "--weights", "none.pth"], "no file of weights"),
    ],
)
def test_wrong_options_are_named(options, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(capsys, words, make_frames(tmp_path / "in", 2), *options)
    assert not (tmp_path / "superresolved").exists()


def test_weights_of_another_task_or_network_are_refused(weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 2)
    refused(capsys, "use flowzoo infer", frames, "--weights", weights["wren"])
    refused(capsys, "holds weights of tdan", frames, "--model", "kestrel", "--weights", weights["tdan"])
    refused(capsys, "--chunk is for networks", frames, "--weights", weights["tdan"], "--chunk", 3)


def test_results_do_not_lie_among_the_frames(weights, tmp_path, capsys):
    frames = make_frames(tmp_path / "in", 2)
    refused(capsys, "give another folder", frames, "-o", frames, "--weights", weights["kestrel"], "--format", "jpg")
    refused(capsys, "does not exist", tmp_path / "nothing", "--weights", weights["kestrel"])
