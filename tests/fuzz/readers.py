"""Every reader with the seeds of its formats, and what must be true of what it gives."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import seeds
import torch
from mutations import Seed
from PIL import Image

from flowzoo.checkpoints import describe
from flowzoo.checkpoints.formats import read_checkpoint
from flowzoo.checkpoints.index import read_index
from flowzoo.datasets.clip_names import listed_clips
from flowzoo.datasets.clips.caltech import SeqFrames
from flowzoo.datasets.eth3d import Eth3d
from flowzoo.datasets.hpatches import read_homography
from flowzoo.datasets.masks import read_raw
from flowzoo.datasets.megadepth import MegaDepth
from flowzoo.files.flow import read_flow
from flowzoo.files.images import image_size, read_image
from flowzoo.files.pair_list import read_pair_list
from flowzoo.synthetic.packed import PackedPairs
from flowzoo.training.recipe import load_recipe


@dataclass(frozen=True)
class Reader:
    """One reader: seeds by name, where in a folder the file stands, and the reading with its checks."""

    seeds: dict[str, Seed]
    file: str
    read: Callable[[Path], None]


def _flow(path: Path) -> None:
    flow, valid = read_flow(path)
    assert flow.dtype == np.float32
    assert flow.shape == (*valid.shape, 2)
    assert valid.dtype == bool
    assert np.isfinite(flow).all()
    assert not flow[~valid].any()


def _image(path: Path) -> None:
    size = image_size(path)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (*size, 3)
    assert read_raw(path).shape[:2] == size


def _weights(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    assert checkpoint.tensors
    for name, value in checkpoint.tensors.items():
        assert isinstance(name, str)
        assert isinstance(value, torch.Tensor)
        assert value.numel() <= max(path.stat().st_size, 2**16)
        value.sum()  # touches every number
    if zlib.crc32(path.read_bytes()) % 8:  # comparing with every network of the zoo takes much longer than reading
        return
    found = describe(path)
    json.dumps(found, default=str)
    assert all(len(str(fact)) < 1000 for fact in found["facts"].values() if not isinstance(fact, (dict, list)))


def _pair_list(path: Path) -> None:
    for pair in read_pair_list(path):
        assert isinstance(pair.first, Path)
        assert isinstance(pair.second, Path)


def _recipe(path: Path) -> None:
    recipe = load_recipe(str(path))
    assert recipe.stages


def _index(path: Path) -> None:
    for tag, entry in read_index(path).items():
        assert entry.tag == tag
        assert isinstance(entry.trained_on, list)


def _manifest(path: Path) -> None:
    pairs = PackedPairs(path.parent)
    for index in range(min(len(pairs), 2)):
        assert pairs[index].flow.shape[1:] == pairs[index].first.shape[1:]


def _eth3d(path: Path) -> None:
    _pictures(path.parents[1])
    dataset = Eth3d(path.parents[1], "3", partial=True)
    for pair in dataset.pairs[:3]:
        truth = dataset.read_truth(pair)
        assert truth.flow.shape == (*truth.valid.shape, 2)
        assert np.isfinite(truth.flow).all()


def _megadepth(path: Path) -> None:
    _pictures(path.parent)
    dataset = MegaDepth(path.parent, partial=True)
    for pair in dataset.pairs[:3]:
        truth = dataset.read_truth(pair)
        assert np.isfinite(truth.flow).all()
        assert all((truth.points[axis] >= 0).all() for axis in (0, 1))
        assert all((truth.points[axis] < truth.size[axis]).all() for axis in (0, 1))


def _pictures(folder: Path) -> None:
    for name in ("a.png", "b.png"):
        if not (folder / name).exists():
            Image.fromarray(np.zeros((16, 20, 3), np.uint8)).save(folder / name)


def _homography(path: Path) -> None:
    assert np.isfinite(np.linalg.inv(read_homography(path))).all()


def _clip_list(path: Path) -> None:
    for name in listed_clips(path, "im1.png"):
        assert ".." not in name


def _seq(path: Path) -> None:
    frames = SeqFrames(path)
    for index in range(len(frames.places)):
        assert frames(index).shape[2] == 3


def readers(folder: Path, repository: Path) -> dict[str, Reader]:
    """All of them; `folder` is for files that are needed to make seeds."""
    text = seeds.text_seeds(repository)
    images = seeds.image_seeds()
    targa = {"tga": images.pop("tga")}
    presets = {name: seed for name, seed in text.items() if name.startswith("preset")}
    return {
        "flow": Reader(seeds.flow_seeds(folder), "a.bin", _flow),
        "images": Reader(images, "a.png", _image),
        "targa": Reader(targa, "a.tga", _image),
        "weights": Reader(seeds.weight_seeds(), "a.pth", _weights),
        "lists of pairs": Reader({"pair list": text["pair list"]}, "pairs.txt", _pair_list),
        "presets": Reader(presets, "mine.toml", _recipe),
        "index": Reader({"index": text["index"]}, "index.toml", _index),
        "manifests": Reader({"manifest": text["manifest"]}, "manifest.json", _manifest),
        "ETH3D": Reader(seeds.pickled_lists(), "info_ETH3D_files/lakeside_every_5_rate_of_3", _eth3d),
        "MegaDepth": Reader({"megadepth": text["megadepth"]}, "test1600Pairs.csv", _megadepth),
        "lists of clips": Reader({"clips": text["clip list"]}, "sep_testlist.txt", _clip_list),
        "seq videos": Reader({"seq": seeds.seq()}, "V000.seq", _seq),
        "HPatches": Reader({"homography": text["homography"]}, "H_1_2", _homography),
    }
