"""Submissions: the trees and archives that the servers take, or nothing."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from evaluation_samples import picture

from flowzoo.datasets.sintel import TEST_FRAMES
from flowzoo.errors import InputError
from flowzoo.evaluation.run import Evaluation
from flowzoo.files.flow import read_flow, write_flow
from flowzoo.files.images import write_image


def kitti_testing(root: Path, year: int, flow: np.ndarray) -> Path:
    """All testing pairs at a small size, and predictions of `flow`."""
    height, width = flow.shape[:2]
    predictions = root.with_name(root.name + "-predictions")
    first = root / "testing" / ("image_2" if year == 2015 else "colored_0") / "000000_10.png"
    write_image(first, picture(0, height, width))
    write_flow(predictions / "000000_10.png", flow)
    for index in range(200 if year == 2015 else 195):
        for frame in (10, 11):
            first.with_name(f"{index:06d}_{frame}.png").write_bytes(first.read_bytes())
        (predictions / f"{index:06d}_10.png").write_bytes((predictions / "000000_10.png").read_bytes())
    return predictions


@pytest.mark.parametrize("year", [2012, 2015])
def test_kitti(tmp_path: Path, year: int) -> None:
    flow = np.random.default_rng(0).integers(-512 * 64, 512 * 64, (4, 6, 2)).astype(np.float32) / 64
    predictions = kitti_testing(tmp_path / "kitti", year, flow)
    target = tmp_path / "upload"
    report = Evaluation(f"kitti-{year}", tmp_path / "kitti", predictions=predictions, submission=target).run()
    count, folder = (200, "flow/") if year == 2015 else (195, "")
    assert report.metrics == {}
    assert report.pairs == count
    wanted = [f"{folder}{index:06d}_10.png" for index in range(count)]
    with zipfile.ZipFile(target / f"kitti-{year}.zip") as archive:
        assert sorted(archive.namelist()) == wanted
        assert archive.testzip() is None
        assert archive.read(wanted[7]) == (target / wanted[7]).read_bytes()
    read, valid = read_flow(target / wanted[-1])
    assert valid.all()
    assert np.array_equal(read, flow)
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*_10.png")) == wanted
    assert not list(tmp_path.glob(".*partial"))
    with pytest.raises(InputError, match="exists; remove it"):
        Evaluation(f"kitti-{year}", tmp_path / "kitti", predictions=predictions, submission=target).run()


def test_kitti_takes_only_complete_dense_flow_in_range(tmp_path: Path) -> None:
    root, target = tmp_path / "kitti", tmp_path / "upload"
    predictions = kitti_testing(root, 2015, np.zeros((4, 6, 2), np.float32))

    def refused(match: str, **options: object) -> None:
        with pytest.raises(InputError, match=match):
            Evaluation("kitti-2015", root, predictions=predictions, submission=target, **options).run()
        assert not target.exists()
        assert not list(tmp_path.glob(".*partial"))

    refused("takes all 200 pairs, here are 3", limit=3)
    sparse = np.ones((4, 6), bool)
    sparse[1, 2] = False
    write_flow(predictions / "000150_10.png", np.zeros((4, 6, 2), np.float32), sparse)
    refused("000150_10.png: 1 of 24 pixels")
    write_flow(predictions / "000150_10.png", np.zeros((4, 5, 2), np.float32))
    refused("expected 6x4")
    too_far = predictions / "000150_10.png"
    far = np.zeros((4, 6, 2), np.float32)
    far[0, 0, 0] = 513
    write_flow(too_far, far, format="flo")
    refused("000150_10 reaches 0.0 to 513.0 px")
    (root / "testing" / "image_2" / "000199_11.png").unlink()
    (root / "testing" / "image_2" / "000199_10.png").unlink()
    refused("199 of 200 pairs")


def test_sintel_takes_both_passes_in_one_folder(tmp_path: Path) -> None:
    frame = tmp_path / "frame.png"
    write_image(frame, picture(0, 4, 8))
    write_flow(tmp_path / "flow.flo", np.full((4, 8, 2), 2.5, np.float32))
    for name in ("clean", "final"):
        for scene, frames in TEST_FRAMES.items():
            images, flows = tmp_path / "sintel/test" / name / scene, tmp_path / "predictions" / scene
            images.mkdir(parents=True)
            flows.mkdir(parents=True, exist_ok=True)
            for index in range(1, frames + 1):
                (images / f"frame_{index:04d}.png").symlink_to(frame)
                if index < frames and name == "clean":
                    (flows / f"frame_{index:04d}.flo").symlink_to(tmp_path / "flow.flo")
        report = Evaluation(
            f"sintel-{name}",
            tmp_path / "sintel",
            predictions=tmp_path / "predictions",
            submission=tmp_path / "upload",
        ).run()
        assert report.pairs == 552
        assert any("bundler" in note for note in report.notes)
    assert sorted(path.name for path in (tmp_path / "upload").iterdir()) == ["clean", "final"]
    for name in ("clean", "final"):
        files = sorted((tmp_path / "upload" / name).rglob("*.flo"))
        assert len(files) == 552
        assert files[-1].relative_to(tmp_path / "upload").as_posix() == f"{name}/wall/frame_0049.flo"
        assert files[0].read_bytes() == (tmp_path / "flow.flo").read_bytes()
