"""MegaDepth (Li and Snavely, CVPR 2018) as RANSAC-Flow and GLU-Net score it: 1600 pairs of photographs."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Pair, Truth
from flowzoo.datasets.resampling import pad_to_common, resize_lanczos
from flowzoo.errors import InputError
from flowzoo.files.images import image_size
from flowzoo.files.reading import opened, reason

LIST = "test1600Pairs.csv"
COLUMNS = ("scene", "source_image", "target_image", "XA", "YA", "XB", "YB")
LONGEST_FIELD = 1 << 24
"""Characters of a list of matches."""
SHORT_SIDE = 480
STRIDE = 16


class MegaDepth(FlowDataset):
    """Photographs with a short side of 480, sides cut to multiples of 16 (Lanczos), padded to one size.

    XA, YA are matches in the source, XB, YB in the target image; flow lives on the target (first) and points into the
    source (second). Matches count that lie strictly inside both; the prediction is read at the rounded target point.
    """

    name, title = "megadepth", "MegaDepth"
    protocol = "matching:MegaDepth"
    layout = f"{LIST} and test1600Pairs/SCENE/IMAGE"
    markers = (LIST,)
    subsets: ClassVar = {"test": "1600 pairs"}

    def list_pairs(self) -> tuple[list[Pair], int]:
        """The lines of the list."""
        path = self.root / LIST
        self.rows: dict[str, dict[str, str]] = {}
        if not path.is_file():
            return [], 1600
        images = next(
            (self.root / name for name in ("test1600Pairs", "Test1600Pairs") if (self.root / name).is_dir()), self.root
        )
        pairs = []
        for index, row in enumerate(read_rows(path)):
            folder = images if row["scene"] == "/" else images / row["scene"].strip("/")
            name = f"{index:04d}"
            self.rows[name] = row
            pairs.append(Pair(name, folder / row["target_image"], folder / row["source_image"], path, f"{name}.flo"))
        return pairs, 1600

    def _present(self, candidates: list[Pair], expected: int, images: bool) -> list[Pair]:
        # The sizes of the ground truth come from the images, so they are needed even where flow files are scored.
        return super()._present(candidates, expected, True)

    def read_images(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Target and source at the working size, padded to one size."""
        resized = []
        for path in (pair.first, pair.second):
            image = self.read_image(path)
            height, width = working_size(image.shape[:2])
            resized.append(resize_lanczos(image, height, width))
        return pad_to_common(resized[0], resized[1])

    def read_truth(self, pair: Pair) -> Truth | None:
        """The matches at the working size."""
        row = self.rows[pair.name]
        try:
            source, target = (_matches(row, letter) for letter in "AB")
            if source.shape != target.shape:
                raise ValueError(f"{source.shape[1]} and {target.shape[1]} points")
        except ValueError as error:
            raise InputError(
                f"{pair.flow} line {int(pair.name) + 2}: matches are not equal lists of numbers: {error}"
            ) from error
        source, inside_source, _ = self._scaled(source, image_size(pair.second))
        target, inside_target, size = self._scaled(target, image_size(pair.first))
        # Only what lies inside can be a column and a row: others may be infinite.
        columns, rows = np.round(np.where(inside_target, target, 0)).astype(np.int64)
        kept = inside_source & inside_target & (rows < size[0]) & (columns < size[1])
        flow = (source - target).T[kept]
        return Truth(flow, np.ones(len(flow), bool), size, points=(rows[kept], columns[kept]))

    @staticmethod
    def _scaled(points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        height, width = working_size(size)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = points * np.array([[width / size[1]], [height / size[0]]], np.float32)
        inside = (scaled[0] > 0) & (scaled[0] < width) & (scaled[1] > 0) & (scaled[1] < height)
        return scaled, inside, (height, width)

    def prediction_size(self, pair: Pair) -> tuple[int, int]:
        """See the class."""
        return working_size(image_size(pair.first))


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The lines of the official list, by column.

    Raises:
        InputError: it is no such list, or a line lacks a column.
    """
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        with opened(path, "the official list") as (binary, _):
            reader = csv.DictReader(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
            for row in reader:
                missing = [name for name in COLUMNS if row.get(name) is None]
                if missing:
                    raise InputError(
                        f"{path} line {reader.line_num} has no column {missing[0]}; get the official list again"
                    )
                yield {name: row[name] for name in COLUMNS}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {reason(error)}; get the official list again") from error
    finally:
        csv.field_size_limit(before)


def _matches(row: dict[str, str], letter: str) -> np.ndarray:
    """2xN float32 from the columns X and Y of one image."""
    with np.errstate(over="ignore"):
        return np.array([[float(word) for word in row[f"{axis}{letter}"].split(";")] for axis in "XY"], np.float32)


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width with a short side of 480, cut down to multiples of 16."""
    ratio = min(size) / SHORT_SIDE
    height, width = (round(side / ratio) // STRIDE * STRIDE for side in size)
    return height, width
