"""Layouts of the data sets, on the real samples and on small copies of the official trees."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from evaluation_samples import grey, kitti_flow, picture

from flowzoo.datasets.catalogue import dataset_class, list_datasets, open_dataset
from flowzoo.errors import InputError
from flowzoo.evaluation.protocols import protocol_for
from flowzoo.evaluation.run import Evaluation
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image


def zero_flow(dataset: str, root: Path, folder: Path, subset: str | None = None) -> dict[str, float]:
    """End-point error of zero flow by pair."""
    pairs = open_dataset(dataset, root, subset, partial=True)
    for pair in pairs.pairs:
        height, width = pairs.read_truth(pair).size
        write_flow(folder / pair.prediction, np.zeros((height, width, 2), np.float32))
    report = Evaluation(dataset, root, subset, partial=True, predictions=folder).run()
    return {row["name"]: row["epe"] for row in report.per_pair}


def photometric(shared: Path) -> dict[str, float]:
    """Mean motion of every sample pair, as its README gives it."""
    rows = json.loads((shared / "data" / "photometric.json").read_text())
    return {row["pair"]: row["mean_magnitude"] for row in rows}


@pytest.mark.parametrize("by", ["folder", "parent"])
def test_zero_flow_on_middlebury(shared: Path, tmp_path: Path, by: str) -> None:
    root = shared / "data" / ("Middlebury" if by == "folder" else "")
    found, known = zero_flow("middlebury", root, tmp_path), photometric(shared)
    assert len(found) == 5
    for name, error in found.items():
        assert error == pytest.approx(known[f"Middlebury/other-data/{name}"], abs=6e-4), name


def test_zero_flow_on_flyingchairs(shared: Path, tmp_path: Path) -> None:
    known = photometric(shared)
    found = {
        subset: zero_flow("flyingchairs", shared / "data", tmp_path / subset, subset) for subset in ("train", "val")
    }
    assert list(found["val"]) == ["10004", "10006"]
    assert len(found["train"]) == 6
    for name, error in (found["train"] | found["val"]).items():
        assert error == pytest.approx(known[f"FlyingChairs_release/data/{name}"], abs=6e-4), name


def test_zero_flow_on_hpatches(shared: Path, tmp_path: Path) -> None:
    found = zero_flow("hpatches", shared / "data", tmp_path / "first", "from-first")
    assert found["v_graffiti/1_2"] == pytest.approx(photometric(shared)["HPatches/v_graffiti 1->2"], abs=6e-4)
    matrix = np.loadtxt(shared / "data/HPatches/v_graffiti/H_1_2")
    for subset, size in (("full", (640, 800)), ("240", (240, 240))):
        lengths = []
        for y in range(0, size[0], size[0] // 80):
            for x in range(0, size[1], size[1] // 80):
                # Pixel of view 2 at its own size, taken back to view 1 and to the working size.
                position = np.linalg.solve(matrix, [x * 800 / size[1], y * 640 / size[0], 1.0])
                back = position[:2] / position[2] * [size[1] / 800, size[0] / 640]
                if 0 <= back[0] <= size[1] - 1 and 0 <= back[1] <= size[0] - 1:
                    lengths.append(np.hypot(back[0] - x, back[1] - y))
        found = zero_flow("hpatches", shared / "data", tmp_path / subset, subset)
        assert found["v_graffiti/1_2"] == pytest.approx(np.mean(lengths), rel=3e-3), subset
        sample = open_dataset("hpatches", shared / "data", subset, partial=True)[0]
        assert sample.first.shape == sample.second.shape == (*size, 3)


def test_sintel_zero_flow(shared: Path, tmp_path: Path) -> None:
    """The README counts visible, valid pixels where there are masks."""
    names = open_dataset("sintel-final", shared / "data", partial=True)
    zero_flow("sintel-final", shared / "data", tmp_path)
    report = Evaluation("sintel-final", shared / "data", partial=True, predictions=tmp_path, mask_invalid=True).run()
    known = photometric(shared)
    assert len(report.per_pair) == len(names) == 8
    for row in report.per_pair:
        wanted = known[f"MPI-Sintel/training/final/{row['name']}"]
        value = row["epe"] if row["epe_matched"] is None else row["epe_matched"]
        # The README also leaves out pixels whose match lies outside the frame.
        assert value == pytest.approx(wanted, rel=2e-3), row["name"]


def test_hd1k(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for sequence, frames in ((0, 3), (1, 2)):
        for frame in range(frames):
            name = f"{sequence:06d}_{frame:04d}.png"
            write_image(tmp_path / "hd1k_input/image_2" / name, picture(frame, 6, 8))
            write_flow(tmp_path / "hd1k_flow_gt/flow_occ" / name, kitti_flow(rng, 6, 8), rng.random((6, 8)) < 0.5)
    dataset = open_dataset("hd1k", tmp_path, partial=True)
    assert [pair.name for pair in dataset.pairs] == ["000000_0000", "000000_0001", "000001_0000"]
    assert dataset.pairs[1].second.name == "000000_0002.png"
    assert dataset.expected == 1047
    assert not dataset[0].valid.all()
    with pytest.raises(InputError, match="3 of 1047 pairs"):
        open_dataset("hd1k", tmp_path)


def test_flyingthings3d(tmp_path: Path) -> None:
    for rendering in ("clean", "final"):
        for frame in range(6, 9):
            write_image(tmp_path / f"frames_{rendering}pass/TEST/A/0000/left/{frame:04d}.png", picture(frame, 4, 6))
    for into, word, numbers in (("into_future", "IntoFuture", (6, 7)), ("into_past", "IntoPast", (7, 8))):
        for frame in numbers:
            flow = np.arange(48, dtype=np.float32).reshape(4, 6, 2) + frame
            write_flow(tmp_path / f"optical_flow/TEST/A/0000/{into}/left/OpticalFlow{word}_{frame:04d}_L.pfm", flow)
    dataset = open_dataset("flyingthings3d", tmp_path, partial=True)
    assert [(pair.first.stem, pair.second.stem) for pair in dataset.pairs] == [
        ("0006", "0007"),
        ("0007", "0008"),
        ("0007", "0006"),
        ("0008", "0007"),
    ]
    assert dataset[3].flow[0, 1, 0] == 10
    with pytest.raises(InputError, match="all_unused_files"):
        open_dataset("flyingthings3d", tmp_path, "test-final-flownet2", partial=True)
    (tmp_path / "all_unused_files.txt").write_text("TEST/A/0000/left/0008.png\nTEST/B/0001/left/0006.png\n")
    kept = open_dataset("flyingthings3d", tmp_path, "test-final-flownet2", partial=True)
    assert [pair.name for pair in kept.pairs] == ["TEST/A/0000/into_future/0006", "TEST/A/0000/into_past/0007"]
    assert kept.expected == 7866 - 2


def test_flyingchairs2(tmp_path: Path) -> None:
    for frame in (0, 1):
        write_image(tmp_path / f"val/0000003-img_{frame}.png", picture(frame, 4, 6))
    for direction in ("01", "10"):
        write_flow(tmp_path / f"val/0000003-flow_{direction}.flo", np.full((4, 6, 2), int(direction), np.float32))
        grey(tmp_path / f"val/0000003-occ_{direction}.png", np.eye(4, 6) * 255)
    assert [pair.name for pair in open_dataset("flyingchairs2", tmp_path, partial=True).pairs] == ["0000003-flow_01"]
    both = open_dataset("flyingchairs2", tmp_path, "val-both", partial=True)
    assert both[1].flow[0, 0, 0] == 10
    assert np.array_equal(both[1].first, picture(1, 4, 6))
    assert np.array_equal(both[1].masks["occlusion"], np.eye(4, 6) > 0)


def test_pairs(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "images" / name, picture(0, 5, 7))
    write_flow(tmp_path / "images/a.flo", np.ones((5, 7, 2), np.float32))
    file = tmp_path / "list.txt"
    file.write_text("# first second flow\n\nimages/a.png images/b.png images/a.flo\n")
    write_flow(tmp_path / "guess/images/a.flo", np.zeros((5, 7, 2), np.float32))
    report = Evaluation("pairs", file, predictions=tmp_path / "guess").run()
    assert report.metrics["epe"] == pytest.approx(2**0.5)
    file.write_text("images/a.png images/b.png\n")
    with pytest.raises(InputError, match="line 1 has 2 paths"):
        open_dataset("pairs", file)
    file.write_text("images/a.png images/c.png images/a.flo\n")
    with pytest.raises(InputError, match=r"images/c\.png"):
        open_dataset("pairs", file)


def test_tss(tmp_path: Path) -> None:
    """Both directions; the threshold is relative to the image that is matched into; the mean is over the sources."""
    rng = np.random.default_rng(0)
    sizes = {"1": (20, 40), "2": (30, 24)}
    errors = {}
    for group in ("FG3DCar", "JODS"):
        folder = tmp_path / "tss" / group / "pair"
        for here, (height, width) in sizes.items():
            write_image(folder / f"image{here}.png", picture(0, height, width))
            flow = rng.normal(0, 2, (height, width, 2)).astype(np.float32)
            mask = rng.random((height, width)) < 0.5
            write_flow(folder / f"flow{here}.flo", flow)
            grey(folder / f"mask{here}.png", mask * 255)
            write_flow(tmp_path / "guess" / group / "pair" / f"flow{here}.flo", np.zeros_like(flow))
            limit = 0.05 * max(sizes["2" if here == "1" else "1"])
            errors[group, here] = 100 * (np.hypot(flow[..., 0], flow[..., 1])[mask] <= limit).mean()
    report = Evaluation("tss", tmp_path / "tss", partial=True, predictions=tmp_path / "guess").run()
    car, other = (np.mean([errors[group, here] for here in "12"]) for group in ("FG3DCar", "JODS"))
    assert report.metrics["pck_alpha_05_fg3dcar"] == pytest.approx(car)
    assert report.metrics["pck_alpha_05"] == pytest.approx((car + other) / 2)
    sample = open_dataset("tss", tmp_path / "tss", partial=True)[0]
    assert sample.first.shape == sample.second.shape == (30, 40, 3)


def test_eth3d(tmp_path: Path) -> None:
    """Means of pairs, of scenes, of intervals; matches at rounded pixels; lists may not run code."""
    rng = np.random.default_rng(0)
    root, guess = tmp_path / "eth3d", tmp_path / "guess"
    means: dict[int, list[float]] = {}
    for rate in (3, 5):
        for scene, count in (("tunnel", 2), ("forest", 1)):
            entries, errors = [], []
            for index in range(count):
                for name in ("s.png", "t.png"):
                    write_image(root / scene / name, picture(0, 20, 30))
                x, y = rng.permutation(25)[:6] + 0.3, rng.permutation(18)[:6] + 0.4
                shift = rng.normal(0, 4, (2, 6))
                entry = {"source_image": f"{scene}/s.png", "target_image": f"{scene}/t.png"}
                entries.append(entry | {"Xt": x, "Yt": y, "Xs": x + shift[0], "Ys": y + shift[1]})
                errors.append(np.hypot(*shift).mean())
                write_flow(guess / f"{rate}/{scene}/{index:04d}.flo", np.zeros((20, 30, 2), np.float32))
            path = root / "info_ETH3D_files" / f"{scene}_every_5_rate_of_{rate}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(entries))
            means.setdefault(rate, []).append(float(np.mean(errors)))
    metrics = Evaluation("eth3d", tmp_path, partial=True, predictions=guess).run().metrics
    for rate, scenes in means.items():
        assert metrics[f"epe_rate_{rate}"] == pytest.approx(np.mean(scenes), rel=1e-5)
    assert metrics["epe"] == pytest.approx(np.mean([np.mean(scenes) for scenes in means.values()]), rel=1e-5)
    with pytest.raises(InputError, match="lists are missing"):
        open_dataset("eth3d", root)
    path.write_bytes(pickle.dumps([{"source_image": Path("a")}]))
    with pytest.raises(InputError, match="which is not data"):
        open_dataset("eth3d", root, partial=True)


def test_megadepth(tmp_path: Path) -> None:
    """Points are scaled with the image, read at the rounded place, and pooled over the set."""
    root, guess = tmp_path / "mega", tmp_path / "guess"
    lines = ["scene,source_image,target_image,XA,YA,XB,YB"]
    errors = []
    for index, (source, target) in enumerate((((600, 800), (480, 960)), ((960, 480), (500, 490)))):
        for name, size in (("s", source), ("t", target)):
            write_image(root / "test1600Pairs" / "0001" / f"{name}{index}.jpg", picture(0, *size))
        points = {"A": ([10.0, 200.5, 400.0], [20.0, 300.0, 479.0]), "B": ([30.25, 220.0, 5e5], [50.0, 250.75, 9.0])}
        words = [";".join(map(str, points[letter][axis])) for letter in "AB" for axis in (0, 1)]
        lines.append(",".join(["0001", f"s{index}.jpg", f"t{index}.jpg", *words]))
        working, scaled = {}, {}
        for letter, size in (("A", source), ("B", target)):
            ratio = min(size) / 480
            working[letter] = [round(side / ratio) // 16 * 16 for side in size]
            scaled[letter] = np.array(points[letter]) * [[working[letter][1] / size[1]], [working[letter][0] / size[0]]]
        difference = scaled["A"][:, :2] - scaled["B"][:, :2]
        flow = np.zeros((*working["B"], 2), np.float32)
        for column in range(2):
            x, y = np.round(scaled["B"][:, column]).astype(int)
            flow[y, x] = difference[:, column] + [0, 2 * column + index]
            errors.append(2 * column + index)
        write_flow(guess / f"{index:04d}.flo", flow)
    (root / "test1600Pairs.csv").write_text("\n".join(lines) + "\n")
    report = Evaluation("megadepth", tmp_path, partial=True, predictions=guess).run()
    assert errors == [0, 2, 1, 3]
    assert report.metrics["epe"] == pytest.approx(1.5, abs=1e-4)
    assert report.metrics["pck_5"] == 100
    assert report.metrics["pck_36"] == 100
    sample = open_dataset("megadepth", root, partial=True)[0]
    assert sample.first.shape == sample.second.shape == (480, 960, 3)


def test_every_name_opens_and_has_a_protocol(tmp_path: Path) -> None:
    for name in list_datasets():
        kind = dataset_class(name)
        assert kind.name == name
        assert protocol_for(name).metrics[0].name
        assert any(metric.name == "epe" for metric in protocol_for(name).metrics)
        with pytest.raises(InputError) as caught:
            open_dataset(name, tmp_path)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)
