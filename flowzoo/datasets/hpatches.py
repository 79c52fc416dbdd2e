"""HPatches (Balntas et al., CVPR 2017): the 59 viewpoint sequences, whose images are related by homographies."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.datasets.resampling import resize_bilinear
from flowzoo.errors import InputError
from flowzoo.files.images import image_size
from flowzoo.files.reading import content_of, reason

VIEWS = range(2, 7)
SQUARE = 240
LONGEST = 100_000
"""Bytes of a file with a homography."""
LARGEST = 1e12
"""Size of its numbers."""


class HPatches(FlowDataset):
    """Flow from view k (k = 2..6) to view 1, both resized to view k's size ("full") or to 240x240 ("240").

    That is the protocol of DGC-Net, GLU-Net and GOCor: pixels count whose match lies inside view 1. "from-first" is
    the plain homography from view 1 to view k at the original size, every pixel counted.
    """

    name, title = "hpatches", "HPatches"
    protocol = "matching:HPatches"
    layout = "v_SEQUENCE/{1..6}.ppm and v_SEQUENCE/H_1_{2..6}"
    markers = ("v_*/H_1_2", "v_*/1.ppm")
    subsets: ClassVar = {
        "full": "295 pairs, both images at the first's size",
        "240": "295 pairs, both images at 240x240",
        "from-first": "295 pairs, from view 1 at the original size, every pixel",
    }

    def list_pairs(self) -> tuple[list[Pair], int]:
        """Five pairs a sequence; a sequence is partial where a view is missing."""
        pairs = []
        for folder in sorted(self.root.glob("v_*")):
            for view in VIEWS:
                names = (folder / "1.ppm", folder / f"{view}.ppm")
                first, second = names if self.subset == "from-first" else names[::-1]
                name = f"{folder.name}/1_{view}"
                pairs.append(Pair(name, first, second, folder / f"H_1_{view}", f"{name}.flo", f"view_{view}"))
        return pairs, 59 * len(VIEWS)

    def _size(self, pair: Pair) -> tuple[int, int]:
        return (SQUARE, SQUARE) if self.subset == "240" else image_size(pair.first)

    def read_images(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Both images at the protocol's size."""
        if self.subset == "from-first":
            return super().read_images(pair)
        height, width = self._size(pair)
        first, second = (resize_bilinear(self.read_image(path), height, width) for path in (pair.first, pair.second))
        return first, second

    def read_truth(self, pair: Pair) -> Truth | None:
        """Flow of the homography at the protocol's size."""
        if pair.flow is None:
            return None
        height, width = size = self._size(pair)
        matrix = read_homography(pair.flow)
        if self.subset != "from-first":
            # H maps view 1 to view k; both are rescaled to the working size, and the flow goes the other way.
            first, second = image_size(pair.first), image_size(pair.second)
            to_working = np.diag([width / first[1], height / first[0], 1.0])
            from_working = np.diag([second[1] / width, second[0] / height, 1.0])
            matrix = np.linalg.inv(to_working @ matrix @ from_working)
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        x, y, depth = np.tensordot(matrix, np.stack([columns, rows, np.ones_like(rows)]), axes=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = x / depth, y / depth
        known = np.isfinite(x) & np.isfinite(y)
        if self.subset != "from-first":
            known &= (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        flow = np.where(known[..., None], np.stack([x - columns, y - rows], axis=-1), 0.0)
        return Truth(flow.astype(np.float32), known, size)

    def prediction_size(self, pair: Pair) -> tuple[int, int]:
        """See the class."""
        return self._size(pair)


def read_homography(path: Path) -> np.ndarray:
    """3x3 float64 from a text file of nine numbers.

    Raises:
        InputError: the file holds something else, or the matrix cannot be inverted.
    """
    text = content_of(path, "a homography of nine numbers", LONGEST).decode("ascii", errors="replace")
    try:
        numbers = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise InputError(f"homography {path} must hold nine numbers: {reason(error)}") from error
    sane = numbers.size == 9 and bool((np.abs(numbers) < LARGEST).all())  # False for NaN, too
    if not sane or abs(np.linalg.det(numbers.reshape(3, 3))) < 1e-12:
        raise InputError(f"homography {path} must hold nine numbers of an invertible matrix, found {numbers.size}")
    return numbers.reshape(3, 3)
