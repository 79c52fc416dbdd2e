"""Small data sets in the official layouts, made for tests."""

from pathlib import Path

import numpy as np

from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """HxWx3 uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def grey(path: Path, values: np.ndarray) -> None:
    """Write an HxW uint8 image as it is."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def kitti_flow(rng: np.random.Generator, height: int, width: int, reach: int = 40) -> np.ndarray:
    """HxWx2 float32 in KITTI's steps of 1/64 px."""
    return (rng.integers(-64 * reach, 64 * reach + 1, (height, width, 2)) / 64).astype(np.float32)


def make_kitti(root: Path, year: int, count: int, *, height: int = 12, width: int = 20, seed: int = 0) -> Path:
    """`count` training pairs of KITTI 2012 or 2015; returns a folder of predictions, every second one sparse."""
    rng = np.random.default_rng(seed)
    training, predictions = root / "training", root.with_name(root.name + "-predictions")
    for index in range(count):
        name = f"{index:06d}_10.png"
        for frame in (10, 11):
            write_image(
                training / ("image_2" if year == 2015 else "colored_0") / f"{index:06d}_{frame}.png",
                picture(index, height, width),
            )
        flow, valid = kitti_flow(rng, height, width), rng.random((height, width)) < 0.7
        visible = valid & (rng.random((height, width)) < 0.8)
        write_flow(training / "flow_occ" / name, flow, valid)
        write_flow(training / "flow_noc" / name, flow, visible)
        if year == 2015:
            grey(training / "obj_map" / name, rng.integers(0, 3, (height, width)))
        guess = flow + kitti_flow(rng, height, width, 4)
        given = rng.random((height, width)) < 0.3 if index % 2 else np.ones((height, width), bool)
        write_flow(predictions / name, guess.astype(np.float32), given)
    return predictions


def make_chairs(root: Path, count: int, *, height: int = 16, width: int = 24) -> Path:
    """`count` FlyingChairs pairs, all of them validation; returns a folder of predictions."""
    rng = np.random.default_rng(1)
    predictions = root.with_name(root.name + "-predictions")
    for index in range(1, count + 1):
        for ending in ("img1", "img2"):
            write_image(root / "data" / f"{index:05d}_{ending}.ppm", picture(index, height, width))
        flow = rng.normal(0, 10, (height, width, 2)).astype(np.float32)
        write_flow(root / "data" / f"{index:05d}_flow.flo", flow)
        guess = flow + rng.normal(0, 2, flow.shape).astype(np.float32)
        write_flow(predictions / f"{index:05d}_flow.flo", guess.astype(np.float32))
    (root / "FlyingChairs_train_val.txt").write_text("2\n" * count)
    return predictions
