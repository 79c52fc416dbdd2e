"""FlyingChairs (Dosovitskiy et al., ICCV 2015): 22,872 pairs; the official list splits them into 22,232 and 640."""

from pathlib import Path
from typing import ClassVar

from flowzoo.datasets.dataset import FlowDataset, Pair
from flowzoo.errors import InputError
from flowzoo.files.reading import content_of, shown

COUNT = 22872
LARGEST_SPLIT = 10_000_000
"""Bytes of a split file."""
SPLIT_FILES = ("FlyingChairs_train_val.txt", "FlyingChairs_train_val_split.txt", "chairs_split.txt")


class FlyingChairs(FlowDataset):
    """Pairs NNNNN_img1.ppm, NNNNN_img2.ppm, NNNNN_flow.flo. Line i of the split file says 1 (train) or 2 (val)."""

    name, title = "flyingchairs", "FlyingChairs"
    layout = "data/NNNNN_{img1.ppm,img2.ppm,flow.flo} and FlyingChairs_train_val.txt"
    markers = ("data/*_flow.flo", "data/*_img1.ppm")
    subsets: ClassVar = {"val": "640 pairs", "train": "22232 pairs", "all": "22872 pairs"}

    def list_pairs(self) -> tuple[list[Pair], int]:
        """Pairs of the split, by number."""
        data = self.root / "data"
        numbers = [f"{index:05d}" for index in range(1, COUNT + 1)]
        if self.subset == "all":
            return [self._pair(data, number) for number in numbers], COUNT
        split = self._read_split()
        if len(split) != COUNT:
            # A cut-down copy: its list has one line for every pair that is there, in the order of their names.
            numbers = sorted(path.name.removesuffix("_flow.flo") for path in data.glob("*_flow.flo"))
        if len(split) != len(numbers):
            raise InputError(
                f"{self.root}: the split file has {len(split)} lines for {len(numbers)} pairs in data/; "
                f"get the official {SPLIT_FILES[0]}"
            )
        wanted = {"train": "1", "val": "2"}[self.subset]
        chosen = [number for number, word in zip(numbers, split, strict=True) if word == wanted]
        return [self._pair(data, number) for number in chosen], {"train": 22232, "val": 640}[self.subset]

    def _read_split(self) -> list[str]:
        for name in SPLIT_FILES:
            for path in (self.root / name, self.root / "data" / name, self.root.parent / name):
                if path.is_file():
                    words = content_of(path, "a split file", LARGEST_SPLIT).decode("ascii", errors="replace").split()
                    wrong = next((word for word in words if word not in ("1", "2")), None)
                    if wrong is not None:
                        raise InputError(f"{path}: every line must be 1 (train) or 2 (val), found {shown(wrong)!r}")
                    return words
        raise InputError(
            f"{self.title} under {self.root} lacks its split file: expected {SPLIT_FILES[0]} beside data/; "
            "get it from the data set's page, or give --subset all"
        )

    @staticmethod
    def _pair(data: Path, number: str) -> Pair:
        first, second, flow = (data / f"{number}_{ending}" for ending in ("img1.ppm", "img2.ppm", "flow.flo"))
        return Pair(number, first, second, flow, f"{number}_flow.flo")
