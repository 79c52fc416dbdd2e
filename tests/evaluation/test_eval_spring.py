"""Spring's numbers, derived with loops over four true vectors a pixel."""

from pathlib import Path

import numpy as np
import pytest
from evaluation_samples import grey, picture

from flowzoo.datasets.catalogue import open_dataset
from flowzoo.errors import InputError
from flowzoo.evaluation.run import Evaluation
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image

HEIGHT, WIDTH = 6, 8


def make_spring(root: Path, rng: np.random.Generator) -> dict[str, dict[str, np.ndarray]]:
    """One scene of two frames of the left camera, both directions; returns flow and maps by direction."""
    scene = root / "train" / "0001"
    content = {}
    for frame in (1, 2):
        write_image(scene / "frame_left" / f"frame_left_{frame:04d}.png", picture(frame, HEIGHT, WIDTH))
        write_image(scene / "frame_right" / f"frame_right_{frame:04d}.png", picture(frame, HEIGHT, WIDTH))
    for direction, frame in (("FW", 1), ("BW", 2)):
        flow = rng.normal(0, 20, (2 * HEIGHT, 2 * WIDTH, 2)).astype(np.float32)
        known = rng.random((2 * HEIGHT, 2 * WIDTH)) < 0.95
        maps = {
            f"detailmap_flow_{direction}_left": rng.integers(0, 2, (HEIGHT, WIDTH)) * 255,
            f"rigidmap_{direction}_left": rng.integers(0, 2, (2 * HEIGHT, 2 * WIDTH)),
            "skymap_left": rng.integers(0, 2, (2 * HEIGHT, 2 * WIDTH)),
            f"matchmap_flow_{direction}_left": rng.integers(0, 2, (HEIGHT, WIDTH)) * 255,
        }
        for name, values in maps.items():
            grey(scene / "maps" / name / f"{name}_{frame:04d}.png", values)
        write_flow(scene / f"flow_{direction}_left" / f"flow_{direction}_left_{frame:04d}.flo5", flow, known)
        content[direction] = {"flow": flow, "known": known, **maps}
    return content


def test_all_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    content = make_spring(tmp_path / "spring", rng)
    samples: list[tuple[float, float, float, dict[str, bool]]] = []
    for direction, frame in (("FW", 1), ("BW", 2)):
        truth = content[direction]
        guess = truth["flow"][1::2, ::2] + rng.normal(0, 2, (HEIGHT, WIDTH, 2)).astype(np.float32)
        write_flow(tmp_path / f"guess/0001/flow_{direction}_left/flow_{direction}_left_{frame:04d}.flo5", guess)
        for y in range(HEIGHT):
            for x in range(WIDTH):
                corner = np.s_[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
                if not truth["known"][corner].all():
                    continue
                vectors = truth["flow"][corner].reshape(4, 2).astype(float)
                error = min(np.hypot(*(guess[y, x].astype(float) - vector)) for vector in vectors)
                speeds = [np.hypot(*vector) for vector in vectors]
                flags = {
                    "highdetail": truth[f"detailmap_flow_{direction}_left"][y, x] > 0,
                    "nonrigid": truth[f"rigidmap_{direction}_left"][corner].mean() >= 0.5,
                    "sky": truth["skymap_left"][corner].mean() >= 0.5,
                    "unmatched": truth[f"matchmap_flow_{direction}_left"][y, x] > 0,
                    "s0_10": np.mean(speeds) < 10,
                    "s10_40": 10 <= np.mean(speeds) < 40,
                }
                samples.append((error, max(speeds), np.mean(speeds), flags))
    report = Evaluation("spring", tmp_path, partial=True, predictions=tmp_path / "guess").run()
    assert (report.pairs, report.expected) == (2, 19852)
    opposite = {"lowdetail": "highdetail", "rigid": "nonrigid", "notsky": "sky", "matched": "unmatched"}
    parts = {"": lambda flags: True}
    parts |= {name: lambda flags, name=name: flags[name] for name in samples[0][3]}
    parts |= {name: lambda flags, other=other: not flags[other] for name, other in opposite.items()}
    weights = [1 - (step - 1) / 100 for step in range(1, 101)]
    for part, belongs in parts.items():
        chosen = [sample for sample in samples if belongs(sample[3])]
        assert chosen, part
        errors = [sample[0] for sample in chosen]
        end = f"_{part}" if part else ""
        assert report.metrics[f"epe{end}"] == pytest.approx(np.mean(errors)), part
        assert report.metrics[f"out_1px{end}"] == pytest.approx(100 * np.mean([error > 1 for error in errors])), part
        outliers = [error > 3 and error > 0.05 * longest for error, longest, *_ in chosen]
        assert report.metrics[f"fl_all{end}"] == pytest.approx(100 * np.mean(outliers)), part
        area = sum(w * np.mean([e <= step / 20 for e in errors]) for step, w in enumerate(weights, start=1))
        assert report.metrics[f"wauc{end}"] == pytest.approx(100 * area / sum(weights)), part
    assert report.metrics["epe_s40"] == (
        pytest.approx(np.mean([s[0] for s in samples if s[2] >= 40])) if any(s[2] >= 40 for s in samples) else None
    )


def test_training_sample_is_at_the_image_size(tmp_path: Path) -> None:
    content = make_spring(tmp_path / "spring", np.random.default_rng(1))
    dataset = open_dataset("spring", tmp_path, partial=True)
    assert [pair.name for pair in dataset.pairs] == ["0001/FW_left/0001", "0001/BW_left/0002"]
    sample = dataset[0]
    known = content["FW"]["known"][::2, ::2]
    assert np.array_equal(sample.valid, known)
    assert np.array_equal(sample.flow[known], content["FW"]["flow"][::2, ::2][known])
    assert np.array_equal(sample.second, picture(2, HEIGHT, WIDTH))


def test_flow_must_be_twice_the_image(tmp_path: Path) -> None:
    make_spring(tmp_path / "spring", np.random.default_rng(1))
    dataset = open_dataset("spring", tmp_path, partial=True)
    write_flow(dataset.pairs[0].flow, np.zeros((HEIGHT, WIDTH, 2), np.float32))
    with pytest.raises(InputError, match="not twice the size"):
        dataset[0]


def test_official_test_frames() -> None:
    """3960 pairs follow from the frames of the test scenes."""
    from flowzoo.datasets.spring import TEST_FRAMES

    assert sum(4 * (frames - 1) for frames in TEST_FRAMES.values()) == 3960
