"""`flowzoo evaluate` for predicted frames and frames in between."""

import json

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from flowzoo.cli import main
from flowzoo.datasets.clips.caltech import SeqFrames
from flowzoo.datasets.clips.catalogue import list_clip_datasets, open_clips
from flowzoo.errors import InputError
from flowzoo.evaluation.frame_protocols import PROTOCOLS
from flowzoo.evaluation.made_frames import FrameEvaluation
from flowzoo.files.images import read_image, write_image


def noise(seed, height=40, width=64):
    small = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    image = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)[0]
    return (image.permute(1, 2, 0) * 255).round().byte().numpy()


@pytest.fixture
def middlebury(tmp_path):
    """Two scenes; the first is still."""
    for scene, seeds in (("Calm", (1, 1, 1)), ("Wild", (2, 3, 4))):
        first, between, last = map(noise, seeds)
        write_image(tmp_path / "data" / "other-data" / scene / "frame10.png", first)
        write_image(tmp_path / "data" / "other-data" / scene / "frame11.png", last)
        write_image(tmp_path / "data" / "other-gt-interp" / scene / "frame10i11.png", between)
    return tmp_path / "data"


def make_kitti(root, frames=7):
    """The three test drives of PredNet's split, at a size that is resized and cropped."""
    for drive in (104, 79, 70):
        for index in range(frames):
            name = f"2011_09_26/2011_09_26_drive_{drive:04d}_sync/image_03/data/{index:010d}.png"
            write_image(root / name, noise(drive * 100 + index, 128, 424))
    return root


def evaluated(tmp_path, *words):
    assert main(["evaluate", *map(str, words), "--json", str(tmp_path / "found.json")]) == 0
    return json.loads((tmp_path / "found.json").read_text())


def test_middlebury_scores_files(middlebury, tmp_path, capsys):
    for scene in ("Calm", "Wild"):
        truth = read_image(middlebury / "other-gt-interp" / scene / "frame10i11.png")
        write_image(tmp_path / "made" / scene / "frame10i11.png", (truth // 2 * 2).astype(np.uint8))
    words = ("middlebury-interpolation", "--root", middlebury, "--partial", "--predictions", tmp_path / "made")
    found = evaluated(tmp_path, *words)
    assert found["pairs"] == 2
    for row in found["per_pair"]:
        truth = read_image(middlebury / "other-gt-interp" / row["name"] / "frame10i11.png").astype(float)
        error = np.mean((truth - truth // 2 * 2) ** 2)
        assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-9)
    assert found["metrics"]["psnr"] == pytest.approx(np.mean([row["psnr"] for row in found["per_pair"]]))


def test_middlebury_runs_a_method(middlebury, tmp_path, capsys):
    found = evaluated(
        tmp_path, "middlebury-interpolation", "--root", middlebury, "--partial", "--set", "refinement=none"
    )
    rows = {row["name"]: row for row in found["per_pair"]}
    assert rows["Calm"]["psnr"] is None or rows["Calm"]["psnr"] > 40
    assert rows["Wild"]["psnr"] < 25
    assert "wren" in found["model"]


def test_table1_of_kitti(tmp_path, capsys):
    """Resized to 848x256, cropped to 512x256, the truncated prediction against the truth, by scikit-image."""
    from PIL import Image

    root = make_kitti(tmp_path / "kitti")
    evaluation = FrameEvaluation("kitti-prediction", root, limit=2)
    last = {}

    def maker(frames, count):
        last["frames"] = frames
        return [
            torch.from_numpy(frames[-1].transpose(2, 0, 1).copy())[None].float() / 255 * 0.999 for _ in range(count)
        ]

    report = evaluation.run(lambda ranks: (maker, "last frame", "none"))
    assert report.pairs == 2
    assert [frame.shape for frame in last["frames"]] == [(256, 512, 3)] * 3
    row = report.per_pair[0]
    clip = next(c for c in open_clips("kitti-raw", root, "test").clips if row["name"].startswith(c.name))
    first = int(row["name"][len(clip.name) + 1 :] or 0)
    scores = []

    def cut(index):
        whole = Image.fromarray(clip.frames(first + index)).resize((848, 256), Image.Resampling.BILINEAR)
        return np.asarray(whole)[:, 168:680]

    made = ((cut(2).astype(np.float32) / 255 * np.float32(0.999)) * 2 - 1 + 1) / 2 * 255
    for step in (3, 4, 5):
        pair = [np.floor(made).clip(0, 255) / 255 * 2 - 1, cut(step) / 255 * 2 - 1]
        scores.append(structural_similarity(*pair, channel_axis=-1, data_range=2.0))
    assert row["ssim"] == pytest.approx(np.mean(scores), abs=2e-4)


def test_steps_are_averaged_as_table_2_does(tmp_path, monkeypatch):
    import dataclasses

    protocol = dataclasses.replace(
        PROTOCOLS["kitti-prediction"]["omp"], clips="kitti-raw/test", inputs=(0,), targets=(1, 2, 3), resize=(0, 0),
        metrics={"psnr": "psnr"}, steps=(1, 3),
    )  # fmt: skip
    monkeypatch.setitem(PROTOCOLS["kitti-prediction"], "omp", protocol)
    evaluation = FrameEvaluation("kitti-prediction", make_kitti(tmp_path, 5), subset="omp")
    keep = lambda frames, count: [torch.from_numpy(frames[0].transpose(2, 0, 1).copy())[None] / 255] * count  # noqa: E731
    report = evaluation.run(lambda ranks: (keep, "last frame", "none"))
    assert report.pairs == 3 * 2
    steps = [np.mean([row[f"psnr_step{k}"] for row in report.per_pair]) for k in (1, 2, 3)]
    assert report.metrics["psnr_next1"] == pytest.approx(steps[0])
    assert report.metrics["psnr_next3"] == pytest.approx(np.mean(steps))


def write_seq(path, frames, gap=8):
    """A Norpix .seq file as Caltech's are."""
    import io
    import struct

    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write((struct.pack("<I", 0xFEED) + "Norpix seq".encode("utf-16-le")).ljust(1024, b"\0"))
        for frame in frames:
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, "JPEG", quality=95, subsampling=0)
            data = buffer.getvalue()
            stream.write(struct.pack("<I", len(data) + 4) + data + b"\1" * gap)


@pytest.mark.parametrize("gap", [8, 16])
def test_caltech_videos_are_read_at_a_third_of_the_rate(tmp_path, gap):
    frames = [noise(seed) for seed in range(7)]
    write_seq(tmp_path / "set06" / "V000.seq", frames, gap)
    clips = open_clips("caltech-pedestrian", tmp_path, partial=True).clips
    assert [(clip.name, clip.length) for clip in clips] == [("set06/V000", 3)]
    for index in range(3):
        assert np.abs(clips[0].frames(index).astype(int) - frames[3 * index]).mean() < 6
    whole = (tmp_path / "set06" / "V000.seq").read_bytes()
    (tmp_path / "cut.seq").write_bytes(whole[:-600])
    with pytest.raises(InputError, match="cut or damaged"):
        SeqFrames(tmp_path / "cut.seq").places  # noqa: B018
    (tmp_path / "no.seq").write_bytes(b"x" * 3000)
    with pytest.raises(InputError, match="no Norpix"):
        SeqFrames(tmp_path / "no.seq").places  # noqa: B018


def test_cityscapes_snippets_are_runs_of_thirty(tmp_path):
    folder = tmp_path / "leftImg8bit_sequence" / "val" / "ulm"
    for number in [*range(60), *range(100, 130)]:
        write_image(folder / f"ulm_000001_{number:06d}_leftImg8bit.png", np.zeros((2, 2, 3), np.uint8))
    clips = open_clips("cityscapes-sequence", tmp_path, "val", partial=True).clips
    assert [(c.name, c.length) for c in clips] == [(f"ulm_000001_{n:06d}", 30) for n in (0, 30, 100)]
    with pytest.raises(InputError, match="497 of 500 snippets"):
        open_clips("cityscapes-sequence", tmp_path, "val")


def test_every_protocol_names_a_data_set():
    for kinds in PROTOCOLS.values():
        assert {kind.clips.partition("/")[0] for kind in kinds.values()} <= set(list_clip_datasets())


def test_mistakes_are_one_line(middlebury, tmp_path, capsys):
    for words, hint in (
        (("middlebury-interpolation", "--root", middlebury), "10 of 12 scenes"),
        (("middlebury-interpolation", "--root", middlebury, "--partial", "--predictions", tmp_path), "no prediction"),
        (("middlebury-interpolation", "--root", middlebury, "--partial", "--subset", "x"), "no subset"),
        (("middlebury-interpolation", "--root", middlebury, "--partial", "--worst", "1"), "--worst"),
        (("kitti-prediction", "--root", middlebury), "no KITTI raw"),
        (("kitti-prediction", "--root", make_kitti(tmp_path / "k"), "--method", "average"), "--method"),
        (("sintel-clean", "--root", middlebury, "--alexnet", "x.pth"), "--alexnet"),
        (("middlebury-interpolation", "--root", middlebury, "--partial", "--alexnet", tmp_path / "no.pth"), "alexnet"),
    ):
        assert main(["evaluate", *map(str, words)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert hint in err
