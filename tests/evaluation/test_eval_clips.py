"""`flowzoo evaluate` over data sets of clips: layouts, protocols, numbers, and what is refused."""

import json
import math

import numpy as np
import pytest
import torch

from flowzoo import registry
from flowzoo.checkpoints import save_weights
from flowzoo.cli import main
from flowzoo.datasets.scaled.catalogue import list_scaled_datasets, scaled_dataset_class
from flowzoo.errors import InputError
from flowzoo.files.images import read_image, write_image


def picture(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def reds(root, names=("000", "011", "015", "020"), frames=100, small=True):
    for number, name in enumerate(names):
        for frame in range(frames):
            write_image(root / "train_sharp" / name / f"{frame:08d}.png", picture(100 * number + frame, (16, 20)))
            if small:
                path = root / "train_sharp_bicubic" / "X4" / name / f"{frame:08d}.png"
                write_image(path, picture(frame, (4, 5)))
    return root


def vimeo(root, small=False):
    for name in ("00001/0001", "00001/0002", "00077/0123"):
        for frame in range(1, 8):
            write_image(root / "sequences" / name / f"im{frame}.png", picture(frame, (24, 32)))
            if small:
                folder = root.parent / "vimeo_septuplet_matlabLRx4" / "sequences"
                write_image(folder / name / f"im{frame}.png", picture(frame, (6, 8)))
    (root / "sep_testlist.txt").write_text("00001/0001\n00077/0123\n\n")
    (root / "sep_trainlist.txt").write_text("00001/0002\n")
    return root


def vid4(root):
    for name, count in {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}.items():
        for frame in range(count):
            write_image(root / "GT" / name / f"{frame:08d}.png", picture(frame, (16, 16)))
            write_image(root / "BDx4" / name / f"{frame:08d}.png", picture(frame, (4, 4)))
    return root


def own(root, clips=2, frames=4, size=(18, 25)):
    for clip in range(clips):
        for frame in range(frames):
            write_image(root / f"clip{clip}" / f"{frame}.png", picture(10 * clip + frame, size))
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    small = {
        "tdan": {"channels": 8, "extract_blocks": 1, "reconstruct_blocks": 1},
        "basicvsr": {"channels": 8, "blocks": 1},
    }
    for name, settings in small.items():
        save_weights(registry.build(name, **settings), folder / f"{name}.safetensors")
    return folder


def evaluate(capsys, *words):
    status = main(["evaluate", *map(str, words)])
    return status, capsys.readouterr()


def test_the_papers_data_sets_are_there():
    assert {"reds", "reds4", "vimeo90k", "vid4", "clips"} <= set(list_scaled_datasets())


def test_reds_clips_train_and_reds4_are_apart(tmp_path):
    root = reds(tmp_path / "REDS", names=("000", "001", "011", "240"), frames=100)
    train = scaled_dataset_class("reds")(tmp_path, partial=True)
    assert [clip.name for clip in train.clips] == ["001", "240"]
    assert train.expected == 266
    assert scaled_dataset_class("reds")(root, "train-236", partial=True).expected == 236
    test = scaled_dataset_class("reds4")(root, partial=True)
    assert [clip.name for clip in test.clips] == ["000", "011"]
    assert (test.small(test.clips[0], 3) == picture(3, (4, 5))).all()
    with pytest.raises(InputError, match=r"200 files are missing|incomplete"):
        scaled_dataset_class("reds4")(root)


def test_vimeo_lists_and_the_scored_middle_frame(tmp_path):
    data = scaled_dataset_class("vimeo90k")(vimeo(tmp_path / "vimeo_septuplet", small=True))
    assert [clip.name for clip in data.clips] == ["00001/0001", "00077/0123"]
    assert data.clips[0].scored == (3,)
    assert data.clips[0].frame_name(3) == "00001/0001/im4"
    assert not data.made
    assert len(scaled_dataset_class("vimeo90k")(tmp_path, "train")) == 1
    with pytest.raises(InputError, match="sep_fast_testset"):
        scaled_dataset_class("vimeo90k")(tmp_path, "fast")


def test_vid4_in_both_degradations(tmp_path):
    blurred = scaled_dataset_class("vid4")(vid4(tmp_path), "blurred")
    assert {clip.name: len(clip.scored) for clip in blurred.clips}["foliage"] == 49
    assert not blurred.made
    assert scaled_dataset_class("vid4")(tmp_path).made
    (tmp_path / "GT" / "city" / "00000003.png").unlink()
    with pytest.raises(InputError, match=r"frame 34 of 34"):
        scaled_dataset_class("vid4")(tmp_path)


def test_small_frames_are_made_as_asked(tmp_path):
    kind = scaled_dataset_class("clips")
    frames = {
        name: kind(own(tmp_path), degradation=name).small(kind(tmp_path).clips[0], 0)
        for name in ("stored", "bicubic", "blur-centred", "blur-corner")
    }
    assert all(frame.shape == (4, 6, 3) for frame in frames.values())
    assert (frames["stored"] == frames["bicubic"]).all()
    assert (frames["blur-centred"] != frames["blur-corner"]).any()
    with pytest.raises(InputError, match="no degradation"):
        kind(tmp_path, degradation="nearest")


@pytest.mark.parametrize("name", ["tdan", "basicvsr"])
def test_a_network_over_clips(name, weights, tmp_path, capsys):
    own(tmp_path / "data")
    file = tmp_path / "out.json"
    words = ("clips", "--root", tmp_path / "data", "--weights", weights / f"{name}.safetensors", "--json", file)
    status, said = evaluate(capsys, *words)
    assert status == 0, said.err
    report = json.loads(file.read_text())
    assert (report["dataset"], report["model"], report["pairs"]) == ("clips", name, 8)
    assert set(report["metrics"]) == {"psnr", "psnr_y", "ssim", "ssim_y"}
    assert report["per_pair"][5]["name"] == "clip1/1"
    assert "8 frames" in said.out
    assert "small frames made here: bicubic" in said.out


def test_numbers_of_files_follow_their_definition(tmp_path, capsys):
    """Clips of unequal length: the mean over clips is not the mean over frames."""
    noise = np.random.default_rng(1)
    own(tmp_path / "data", clips=1, frames=2, size=(24, 28))
    own(tmp_path / "data" / "more", clips=1, frames=1, size=(24, 28))
    (tmp_path / "data" / "more" / "clip0").rename(tmp_path / "data" / "clip1")
    psnr = {}
    for path in sorted((tmp_path / "data").rglob("*.png")):
        truth = read_image(path).astype(int)
        frame = np.clip(truth + noise.integers(-9, 10, truth.shape) * (3 if "clip1" in str(path) else 1), 0, 255)
        relative = path.relative_to(tmp_path / "data")
        write_image(tmp_path / "predicted" / relative, frame.astype(np.uint8))
        psnr[str(relative)] = 10 * math.log10(255**2 / np.mean((frame - truth)[4:-4, 4:-4] ** 2.0))
    file = tmp_path / "out.json"
    words = ("clips", "--root", tmp_path / "data", "--predictions", tmp_path / "predicted", "--border", 4)
    status, said = evaluate(capsys, *words, "--json", file, "--csv", tmp_path / "out.csv")
    assert status == 0, said.err
    first = (psnr["clip0/0.png"] + psnr["clip0/1.png"]) / 2
    report = json.loads(file.read_text())
    assert report["metrics"]["psnr"] == pytest.approx((first + psnr["clip1/0.png"]) / 2, abs=1e-6)
    assert report["per_pair"][0]["psnr"] == pytest.approx(psnr["clip0/0.png"], abs=1e-6)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 5


def test_perfect_frames_have_no_finite_psnr(tmp_path, capsys):
    own(tmp_path / "data", clips=1)
    file = tmp_path / "out.json"
    data = tmp_path / "data"
    words = ("clips", "--root", data, "--predictions", data, "--json", file)
    status, said = evaluate(capsys, *words)
    # Cut to multiples of four, the frames of the data set are no predictions.
    assert status == 2
    assert "wanted 24x16" in said.err
    for path in sorted(data.rglob("*.png")):
        write_image(tmp_path / "same" / path.relative_to(data), read_image(path)[:16, :24])
    status, said = evaluate(capsys, "clips", "--root", data, "--predictions", tmp_path / "same", "--json", file)
    assert status == 0, said.err
    report = json.loads(file.read_text())
    assert report["metrics"]["psnr"] is None
    assert report["metrics"]["ssim"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reds4", "--root", "{data}"], "incomplete"),
        (["clips"], "give --root"),
        (["clips", "--root", "{data}", "--worst", "3"], "--worst is not for clips"),
        (["clips", "--root", "{data}", "--model", "wren"], "use flowzoo infer"),
        (["clips", "--root", "{data}", "--predictions", "{data}/clip0"], "no prediction"),
        (["clips", "--root", "{data}", "--border", "-1"], "--border"),
        (["sintel-clean", "--root", "{data}", "--border", "3"], "--border is not for image pairs"),
        (["clips", "--root", "{data}", "--subset", "train"], "no subset"),
    ],
)
def test_mistakes_are_named(words, message, tmp_path, capsys):
    own(tmp_path / "data")
    status, said = evaluate(capsys, *(word.format(data=tmp_path / "data") for word in words))
    assert status == 2
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_subsets_can_be_listed(capsys):
    status, said = evaluate(capsys, "vimeo90k", "--subset", "list")
    assert status == 0
    assert "7,824" in said.out
