"""Sintel's numbers against NumPy and SciPy on the real samples."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from flowzoo.datasets.catalogue import open_dataset
from flowzoo.evaluation.run import Evaluation
from flowzoo.files.flow import write_flow
from flowzoo.metrics.distance import closer_than


def read_raw_flow(path: Path) -> np.ndarray:
    """A .flo file without the library."""
    width, height = np.fromfile(path, "<i4", 2, offset=4)
    return np.fromfile(path, "<f4", offset=12).reshape(height, width, 2)


def read_raw_mask(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path)) > 0


def make_predictions(shared: Path, folder: Path, noise: float) -> list[str]:
    """Disturbed ground truth of the pairs whose clean frames are there; returns their names."""
    rng = np.random.default_rng(0)
    names = ["alley_1/frame_0001", "alley_1/frame_0002", "alley_1/frame_0003", "cave_2/frame_0002"]
    for name in names:
        flow = read_raw_flow(shared / "data/MPI-Sintel/training/flow" / f"{name}.flo")
        guess = flow * np.float32(0.9) + rng.normal(0, noise, flow.shape).astype(np.float32)
        write_flow(folder / f"{name}.flo", guess)
    return names


@pytest.mark.parametrize("mask_invalid", [False, True])
def test_all_numbers_from_the_definitions(shared: Path, tmp_path: Path, mask_invalid: bool) -> None:
    names = make_predictions(shared, tmp_path, 1.5)
    report = Evaluation(
        "sintel-clean", shared / "data", partial=True, predictions=tmp_path, mask_invalid=mask_invalid
    ).run()
    training = shared / "data" / "MPI-Sintel" / "training"
    parts: dict[str, list[np.ndarray]] = {}
    for name in names:
        truth, guess = read_raw_flow(training / "flow" / f"{name}.flo"), read_raw_flow(tmp_path / f"{name}.flo")
        error = np.hypot(*np.moveaxis(guess.astype(float) - truth, -1, 0))
        speed = np.hypot(*np.moveaxis(truth.astype(float), -1, 0))
        masks = {
            "": np.ones(error.shape, bool),
            "s0_10": speed < 10,
            "s10_40": (speed >= 10) & (speed < 40),
            "s40": speed >= 40,
        }
        if (training / "occlusions" / f"{name}.png").is_file():
            hidden = read_raw_mask(training / "occlusions" / f"{name}.png")
            distance = distance_transform_edt(~hidden)
            masks |= {"unmatched": hidden, "matched": ~hidden, "d0_10": ~hidden & (distance < 10)}
            masks |= {"d10_60": (distance >= 10) & (distance < 60), "d60_140": (distance >= 60) & (distance < 140)}
            if mask_invalid:
                valid = ~read_raw_mask(training / "invalid" / f"{name}.png")
                masks = {part: mask & valid for part, mask in masks.items()}
        for part, mask in masks.items():
            parts.setdefault(part, []).append(error[mask])
        parts.setdefault("outlier", []).append(((error > 3) & (error > 0.05 * speed))[masks[""]])
    for part, errors in parts.items():
        values = np.concatenate(errors)
        if part == "outlier":
            assert report.metrics["fl_all"] == pytest.approx(100 * values.mean(), abs=1e-9)
        elif part == "":
            assert report.metrics["epe"] == pytest.approx(values.mean(), abs=1e-9)
            for limit in (1, 3, 5):
                assert report.metrics[f"pck_{limit}"] == pytest.approx(100 * (values <= limit).mean(), abs=1e-9)
        else:
            assert report.metrics[f"epe_{part}"] == pytest.approx(values.mean() if values.size else None, abs=1e-9), (
                part
            )
    assert {"matched", "unmatched", "d0_10", "d10_60", "d60_140"} <= parts.keys()


def test_partial_and_masks_are_reported(shared: Path, tmp_path: Path) -> None:
    make_predictions(shared, tmp_path, 0)
    report = Evaluation("sintel-clean", shared / "data/MPI-Sintel", partial=True, predictions=tmp_path, worst=2).run()
    assert (report.pairs, report.expected) == (4, 1041)
    assert any(note.startswith("partial: 4 of 1041") for note in report.notes)
    assert any("occlusion files are there for 2 of 4 pairs" in note for note in report.notes)
    assert any("distance maps are not public" in note for note in report.notes)
    errors = {row["name"]: row["epe"] for row in report.per_pair}
    assert report.worst == sorted(errors, key=errors.get, reverse=True)[:2]
    found = json.loads(report.as_json())
    assert found["dataset"] == "sintel-clean"
    assert found["pairs"] == 4
    assert found["metrics"]["epe"] == report.metrics["epe"]


def test_official_number_of_pairs(shared: Path) -> None:
    """1041 training and 552 test pairs follow from the frames of the scenes."""
    from flowzoo.datasets.sintel import TEST_FRAMES, TRAINING_FRAMES

    assert (len(TRAINING_FRAMES), sum(TRAINING_FRAMES.values()) - len(TRAINING_FRAMES)) == (23, 1041)
    assert (len(TEST_FRAMES), sum(TEST_FRAMES.values()) - len(TEST_FRAMES)) == (12, 552)
    sample = open_dataset("sintel-final", shared / "data", partial=True)[0]
    assert sample.first.shape == sample.second.shape == (436, 1024, 3)
    assert sample.flow.shape == (436, 1024, 2)
    assert sample.valid.all()


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (40, 1), (37, 53), (300, 20)])
def test_closer_than_is_the_euclidean_distance(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    limits = (1, 2, 5, 10, 60, 140, 254)
    for density in (0.0, 0.002, 0.05, 1.0):
        mask = rng.random(size) < density
        distance = distance_transform_edt(~mask) if mask.any() else np.full(size, np.inf)
        for limit, found in zip(limits, closer_than(mask, limits), strict=True):
            assert np.array_equal(found, distance < limit), (size, density, limit)
