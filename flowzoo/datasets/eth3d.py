"""ETH3D (Schöps et al., CVPR 2017): ten low-resolution multi-view sequences, sparse matches at growing intervals."""

import dataclasses
from typing import ClassVar

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.datasets.plain_pickle import read_plain_pickle
from flowzoo.errors import InputError
from flowzoo.files.images import image_size
from flowzoo.files.reading import DAMAGE, quiet

SCENES = (
    *("lakeside", "sand_box", "storage_room", "storage_room_2", "tunnel"),
    *("delivery_area", "electro", "forest", "playground", "terrains"),
)
RATES = (3, 5, 7, 9, 11, 13, 15)


class Eth3d(FlowDataset):
    """Matches of GLU-Net's lists info_ETH3D_files/SCENE_every_5_rate_of_R, R = 3, 5, ..., 15 frames apart.

    The flow lives on the "target" image, at its matches rounded to pixels (a later one on the same pixel wins), and
    points into the "source" image: first = target, second = source.
    """

    name, title = "eth3d", "ETH3D"
    protocol = "matching:Eth3d"
    layout = "info_ETH3D_files/SCENE_every_5_rate_of_{3,5,..,15} and the images these lists name"
    markers = ("info_ETH3D_files",)
    subsets: ClassVar = {"all": "ten scenes, seven intervals", **{str(rate): f"interval {rate}" for rate in RATES}}

    def list_pairs(self) -> tuple[list[Pair], int]:
        """Pairs of every list, in order."""
        self.matches: dict[str, list[dict[str, object]]] = {}
        pairs, absent = [], []
        for rate in RATES if self.subset == "all" else (int(self.subset),):
            for scene in SCENES:
                path = self.root / "info_ETH3D_files" / f"{scene}_every_5_rate_of_{rate}"
                if not path.is_file():
                    absent.append(path.name)
                    continue
                entries = read_plain_pickle(path)
                self.matches[f"{rate}/{scene}"] = entries
                for index, entry in enumerate(entries):
                    name = f"{rate}/{scene}/{index:04d}"
                    try:
                        first, second = (self.root / str(entry[key]) for key in ("target_image", "source_image"))
                        if not isinstance(entry["target_image"], str) or not isinstance(entry["source_image"], str):
                            raise TypeError
                    except (KeyError, TypeError, IndexError) as error:
                        raise InputError(f"{path}: entry {index} has no source_image and target_image") from error
                    pairs.append(Pair(name, first, second, path, f"{name}.flo", f"{rate}/{scene}"))
        if absent and not self.partial:
            raise InputError(
                f"{self.title} under {self.root} is incomplete: {len(absent)} lists are missing such as "
                f"info_ETH3D_files/{absent[0]}; expected {self.layout}; add them, or give --partial"
            )
        return pairs, len(pairs)

    def _present(self, candidates: list[Pair], expected: int, images: bool) -> list[Pair]:
        # The sizes of the ground truth come from the images, so they are needed even where flow files are scored.
        present = super()._present(candidates, expected, True)
        return [dataclasses.replace(pair, extras={}) for pair in present]

    def read_truth(self, pair: Pair) -> Truth | None:
        """The matches as sparse flow."""
        entry = self.matches[pair.group][int(pair.name.rpartition("/")[2])]
        try:
            with quiet():
                numbers = [np.asarray(entry[key], np.float32).ravel() for key in ("Xs", "Ys", "Xt", "Yt")]
            matches = np.stack(numbers, axis=-1)
        except DAMAGE as error:
            raise InputError(f"{pair.flow}: the matches of {pair.name} are not equal lists of numbers") from error
        height, width = size = image_size(pair.first)
        # Also False where a number is none or infinite, so that all others can be pixels.
        x, y = np.round(matches[:, 2:]).T
        matches = matches[(x >= 0) & (x < width) & (y >= 0) & (y < height) & np.isfinite(matches).all(axis=1)]
        columns, rows = np.round(matches[:, 2:]).astype(np.int64).T
        flow, valid = np.zeros((height, width, 2), np.float32), np.zeros((height, width), bool)
        for row, column, vector in zip(rows, columns, matches[:, :2] - matches[:, 2:], strict=True):
            flow[row, column] = vector
        valid[rows, columns] = True
        return Truth(flow, valid, size)
