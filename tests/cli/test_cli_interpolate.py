"""`flowzoo interpolate` and `flowzoo predict`: what they write, and what they refuse."""

import cv2
import numpy as np
import pytest
import torch

from flowzoo import registry
from flowzoo.checkpoints import save_weights
from flowzoo.cli import main
from flowzoo.files.images import read_image, write_image
from flowzoo.files.video import VideoWriter, open_video
from flowzoo.inference.between_frames import neighbours
from flowzoo.inference.interpolation import FlowInterpolator
from flowzoo.inference.sequences import Frame, open_frames


@pytest.fixture
def frames(tmp_path):
    """Five frames of a texture that moves by two pixels a frame to the right."""
    noise = torch.rand(1, 3, 12, 24, generator=torch.Generator().manual_seed(5))
    wide = torch.nn.functional.interpolate(noise, (48, 96), mode="bicubic").clamp(0, 1)
    pixels = (wide[0].permute(1, 2, 0) * 255).round().byte().numpy()
    for index in range(5):
        start = 16 - 2 * index
        write_image(tmp_path / "frames" / f"f{index}.png", np.ascontiguousarray(pixels[:, start : start + 64]))
    return tmp_path / "frames"


def run(capsys, *words):
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def distance(path, other, margin=8):
    """Mean absolute difference inside, grey levels."""
    first, second = (read_image(entry).astype(float)[margin:-margin, margin:-margin] for entry in (path, other))
    return np.abs(first - second).mean()


def test_two_images_give_exactly_the_file(frames, tmp_path, capsys):
    status, out, _ = run(capsys, "interpolate", frames / "f0.png", frames / "f2.png", "-o", tmp_path / "mid.png")
    assert status == 0
    assert "mid.png" in out
    assert distance(tmp_path / "mid.png", frames / "f1.png") < 3
    assert distance(tmp_path / "mid.png", frames / "f1.png") < distance(frames / "f0.png", frames / "f1.png") / 4


def test_that_16_bits_become_8_is_said_whichever_frame_holds_them(frames, tmp_path, capsys):
    deep = read_image(frames / "f2.png").astype(np.uint16) * 257
    assert cv2.imwrite(str(frames / "f2.png"), deep[..., ::-1])
    line = "f2.png holds 16 bits a channel: frames are taken, and made, with 8"
    status, out, _ = run(capsys, "interpolate", frames / "f0.png", frames / "f2.png", "-o", tmp_path / "mid.png")
    assert (status, out.splitlines().count(line)) == (0, 1)
    assert open_frames(frames).notes == [line]


@pytest.mark.parametrize("method", ["splat", "half-flow"])
def test_four_times_the_rate_of_two_images(method, frames, tmp_path, capsys):
    words = ("interpolate", frames / "f0.png", frames / "f4.png", "-o", tmp_path / "out", "--factor", 4)
    status, _, _ = run(capsys, *words, "--method", method)
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["f0_250.png", "f0_500.png", "f0_750.png"]
    for index, name in enumerate(("f0_250", "f0_500", "f0_750"), start=1):
        assert distance(tmp_path / "out" / f"{name}.png", frames / f"f{index}.png", 12) < 6


def test_a_folder_keeps_its_frames_and_skips_what_is_there(frames, tmp_path, capsys):
    words = ("interpolate", frames, "-o", tmp_path / "out", "--set", "refinement=none")
    assert run(capsys, *words)[0] == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{index:06d}.png" for index in range(9)]
    for index in range(5):
        kept = read_image(tmp_path / "out" / f"{2 * index:06d}.png")
        assert np.array_equal(kept, read_image(frames / f"f{index}.png"))
    made = (tmp_path / "out" / "000003.png").read_bytes()
    (tmp_path / "out" / "000003.png").unlink()
    status, out, _ = run(capsys, *words, "--skip-existing")
    assert status == 0
    assert "wrote 1 frame " in out
    assert (tmp_path / "out" / "000003.png").read_bytes() == made
    assert "nothing to do" in run(capsys, *words, "--skip-existing")[1]


def test_an_interrupted_run_leaves_complete_frames_and_goes_on(frames, tmp_path, capsys, monkeypatch):
    words = ("interpolate", frames, "--set", "refinement=none", "-o")
    assert run(capsys, *words, tmp_path / "whole")[0] == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    images, calls = FlowInterpolator.images, []

    def stopped(self, window, times):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return images(self, window, times)

    monkeypatch.setattr(FlowInterpolator, "images", stopped)
    assert run(capsys, *words, tmp_path / "cut")[0] == 130
    there = {path.name: path.read_bytes() for path in (tmp_path / "cut").iterdir()}
    assert sorted(there) == [f"{index:06d}.png" for index in range(5)]
    assert there.items() <= whole.items()
    calls.clear()
    assert run(capsys, *words, tmp_path / "gone.mp4")[0] == 130
    assert not [path for path in tmp_path.iterdir() if "gone" in path.name]
    calls.clear()
    assert run(capsys, *words, tmp_path / "cut", "--skip-existing")[0] == 0
    assert len(calls) == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "cut").iterdir()} == whole


def test_a_video_doubles_its_rate(frames, tmp_path, capsys):
    with VideoWriter(tmp_path / "clip.mp4", 10.0) as writer:
        for path in sorted(frames.iterdir()):
            writer.write(read_image(path))
    words = ("interpolate", tmp_path / "clip.mp4", "-o", tmp_path / "smooth.mp4", "--set", "refinement=none")
    assert run(capsys, *words)[0] == 0
    with open_video(tmp_path / "smooth.mp4") as video:
        assert video.rate == 20.0
        assert sum(1 for _ in video) == 9


def test_the_average_lies_between(frames, tmp_path, capsys):
    words = ("interpolate", frames / "f0.png", frames / "f2.png", "-o", tmp_path / "mid.png", "--method", "average")
    assert run(capsys, *words, "--steps", 5, "--set", "refinement=none")[0] == 0
    assert distance(tmp_path / "mid.png", frames / "f1.png") < distance(frames / "f0.png", frames / "f2.png")


def test_windows_repeat_the_ends():
    frames = [Frame(str(n), np.full((1, 1, 3), n, np.uint8)) for n in range(4)]
    found = [[int(pixels[0, 0, 0]) for pixels in window] for window in neighbours(frames, 4)]
    assert found == [[0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 3]]
    assert [[int(p[0, 0, 0]) for p in window] for window in neighbours(frames[:2], 4)] == [[0, 0, 1, 1]]
    assert len(list(neighbours(frames, 2))) == 3


def test_flavr_makes_what_its_weights_were_trained_for(frames, tmp_path, capsys):
    torch.manual_seed(0)
    save_weights(registry.build("flavr", inputs=2), tmp_path / "flavr.safetensors")
    words = ("interpolate", frames / "f0.png", frames / "f1.png", "-o", tmp_path / "mid.png", "--method", "flavr")
    weights = ("--weights", tmp_path / "flavr.safetensors")
    assert run(capsys, *words, *weights)[0] == 0
    assert read_image(tmp_path / "mid.png").shape == read_image(frames / "f0.png").shape
    status, _, err = run(capsys, *words[:-4], "-o", tmp_path / "out", "--method", "flavr", *weights, "--factor", 4)
    assert status == 2
    assert "--factor 2" in err
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "flavr has no weights of its own" in err


def test_constant_motion_goes_on(frames, tmp_path, capsys):
    (frames / "f4.png").rename(tmp_path / "true.png")
    words = ("predict", frames, "-o", tmp_path / "next", "--steps", 2)
    assert run(capsys, *words)[0] == 0
    assert sorted(path.name for path in (tmp_path / "next").iterdir()) == ["next_001.png", "next_002.png"]
    assert distance(tmp_path / "next" / "next_001.png", tmp_path / "true.png", 10) < 4
    assert (
        "nothing to do" in run(capsys, "predict", frames, "-o", tmp_path / "next", "--steps", 2, "--skip-existing")[1]
    )


def test_a_network_predicts_step_by_step(frames, tmp_path, capsys):
    torch.manual_seed(0)
    network = registry.build("predictor", width=4)
    save_weights(network, tmp_path / "predictor.safetensors")
    words = ("predict", frames, "--weights", tmp_path / "predictor.safetensors", "--context", 2)
    assert run(capsys, *words, "-o", tmp_path / "next", "--steps", 3)[0] == 0
    clip = torch.stack([torch.from_numpy(read_image(frames / f"f{k}.png")).permute(2, 0, 1) / 255 for k in (3, 4)])
    with torch.inference_mode():
        wanted = network.eval().extend(clip[None], 3).frames[0, 2]
    found = torch.from_numpy(read_image(tmp_path / "next" / "next_003.png")).permute(2, 0, 1) / 255
    assert (found - wanted).abs().max() < 0.6 / 255
    assert run(capsys, *words, "-o", tmp_path / "next.mp4", "--steps", 2)[0] == 0
    with open_video(tmp_path / "next.mp4") as video:
        assert sum(1 for _ in video) == 2


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["interpolate", "{f}/f0.png"], "is one image"),
        (["interpolate", "{f}/f0.png", "{t}/small.png"], "resize one of them"),
        (["interpolate", "{f}/f0.png", "{f}/f1.png", "-o", "{f}/f0.png"], "f0.png"),
        (["interpolate", "{f}/f0.png", "{f}/f1.png", "-o", "{t}/x.mp4"], "is a video, but two images"),
        (["interpolate", "{f}/f0.png", "{f}/f1.png", "-o", "{t}/x.png", "--factor", "4"], "one picture"),
        (["interpolate", "{f}", "-o", "{f}"], "frames"),
        (["interpolate", "{f}", "--method", "average", "--factor", "4"], "--factor 2"),
        (["interpolate", "{f}", "-o", "{t}/x.mp4", "--format", "png"], "is a video"),
        (["interpolate", "{f}", "--model", "predictor"], "predict"),
        (["predict", "{t}/one"], "1 frame"),
        (["predict", "{f}", "--steps", "0"], "--steps"),
        (["predict", "{f}", "--model", "wren"], "wren"),
        (["predict", "{f}", "--model", "predictor"], "no weights of its own"),
        (["predict", "{f}", "-o", "{f}"], "frames"),
    ],
)
def test_mistakes_are_one_line(words, hint, frames, tmp_path, capsys):
    write_image(tmp_path / "small.png", np.zeros((20, 30, 3), np.uint8))
    write_image(tmp_path / "one" / "a.png", np.zeros((20, 30, 3), np.uint8))
    before = {path: path.read_bytes() for path in frames.iterdir()}
    status, _, err = run(capsys, *(word.format(f=frames, t=tmp_path) for word in words))
    assert status == 2
    assert err.count("\n") == 1
    assert hint in err
    assert {path: path.read_bytes() for path in frames.iterdir()} == before
    assert not (tmp_path / "x.mp4").exists()
