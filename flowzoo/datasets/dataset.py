"""What every data set with image pairs is: a list of files found at once, and readers that open them one by one."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import ClassVar

import numpy as np

from flowzoo.datasets.server import ServerLayout
from flowzoo.errors import InputError, counted
from flowzoo.files.flow import read_flow
from flowzoo.files.images import image_size, read_every_bit
from flowzoo.files.reading import existing_folder
from flowzoo.settings import suggestion


@dataclass(frozen=True)
class Pair:
    """The files of one pair; nothing is read yet.

    Attributes:
        name: short and unique within the data set, for example "alley_1/frame_0001".
        first, second: image files; flow goes from `first` to `second`.
        flow: ground truth file, or None where the benchmark keeps it.
        prediction: path of this pair's file in a folder of predictions, relative to that folder.
        group: part of the data set that some protocols average over (scene, interval), or "".
        extras: further files of the ground truth by kind, for example "occlusion".
    """

    name: str
    first: Path
    second: Path
    flow: Path | None
    prediction: str
    group: str = ""
    extras: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """Ground truth of one pair.

    Attributes:
        flow: HxWx2 float32, x then y, pixels of the first image; 0 where unknown. With `points`: Nx2.
        valid: HxW (or N) bool, True = known.
        masks: further HxW bool masks by name ("occlusion", "invalid", "noc", "foreground", ...).
        points: rows and columns, each (N,) int, where a prediction is read; None = at every pixel.
        size: height and width that a prediction must have.
        other: a second ground truth that some benchmarks score too (KITTI's flow_noc): flow and valid.
        length: reference length of a relative threshold, in pixels (TSS), or 0.
    """

    flow: np.ndarray
    valid: np.ndarray
    size: tuple[int, int]
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    points: tuple[np.ndarray, np.ndarray] | None = None
    other: tuple[np.ndarray, np.ndarray] | None = None
    length: float = 0.0


@dataclass(frozen=True)
class FlowSample:
    """One pair, read.

    HxWx3 RGB twice, uint8 or (all of 0 to 65535) uint16; HxWx2 float32 flow and HxW bool validity (None without ground
    truth).
    """

    name: str
    first: np.ndarray
    second: np.ndarray
    flow: np.ndarray | None
    valid: np.ndarray | None
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)


class FlowDataset:
    """Image pairs with ground truth; usable wherever torch takes a map-style data set.

    `dataset[i]` reads pair i; `dataset.pairs` are the files. A subclass lists its files in `list_pairs`, may change how
    they are read, and carries all facts about the set as class attributes; one that has a `name` is found by it.

    Attributes of the class:
        name, title: what the user types, and what messages say.
        layout: its files, in words.
        markers: patterns below the data set's folder by which that is recognised.
        subsets: its parts and what they are; the first is the default.
        protocol: "module:class" of `flowzoo.metrics` that scores it.
        sparse: ground truth is known at single pixels, so that it must not be interpolated when it is resized.
        per_image: images differ in size or in known pixels; the end-point error is the mean of the images' own.
        invalid_mask: has official masks of pixels that may be left out.
        required_extras: kinds of further files without which a pair is incomplete.
        without_extra: what it means for the numbers that files of a kind are missing.
        server: what the benchmark's server takes, or None.

    Args:
        root: folder of the data set, its parent, or the folder of a part of it (MPI-Sintel/training).
        subset: one of `subsets`; None = the part that `root` is the folder of, or the first of them.
        partial: take the pairs that are there instead of insisting on the official number.
        images: False = ground truth is enough, as when files with flow are scored.

    Raises:
        InputError: no such folder or subset, or files are missing; the message says which were expected where.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    layout: ClassVar[str] = ""
    markers: ClassVar[tuple[str, ...]] = ()
    subsets: ClassVar[Mapping[str, str]] = {"all": "every pair"}
    protocol: ClassVar[str] = "protocol:Dense"
    sparse: ClassVar[bool] = False
    per_image: ClassVar[bool] = False
    invalid_mask: ClassVar[bool] = False
    required_extras: ClassVar[frozenset[str]] = frozenset()
    without_extra: ClassVar[Mapping[str, str]] = {}
    server: ClassVar[ServerLayout | None] = None

    def __init__(
        self,
        root: str | PathLike[str],
        subset: str | None = None,
        *,
        partial: bool = False,
        images: bool = True,
    ) -> None:
        if subset is not None and subset not in self.subsets:
            raise InputError(f"{self.name} has no subset {subset!r}: {suggestion(subset, self.subsets)}")
        self.root = self.find_root(Path(root))
        self.subset = self._subset_at(Path(root)) if subset is None else subset
        self.partial = partial
        # How an image file is read; an evaluation puts a cache here.
        self.read_image: Callable[[Path], np.ndarray] = read_every_bit
        self.notes: list[str] = []
        candidates, expected = self.list_pairs()
        self.official = frozenset(pair.prediction for pair in candidates)
        self.pairs = self._present(candidates, max(expected, len(candidates)), images)

    def list_pairs(self) -> tuple[list[Pair], int]:
        """All pairs of the subset whose names are known, there or not, in order, and their official number."""
        raise TypeError(f"{type(self).__name__} does not list its pairs")

    def find_root(self, root: Path) -> Path:
        """What looks like this data set: `root`, a folder right below it, or the one that `root` is a part of."""
        existing_folder(root, f"the folder of {self.title} or its parent with --root")
        children = sorted(entry for entry in root.iterdir() if os.path.isdir(entry))
        for candidate in (root, *children, *self._wholes(root)):
            if any(next(candidate.glob(marker), None) for marker in self.markers):
                return candidate
        return root

    def _wholes(self, part: Path) -> Iterator[Path]:
        """Folders above `part` from which one of the markers leads to or through it."""
        names = Path(os.path.abspath(part))
        for marker in self.markers:
            steps = marker.split("/")
            for depth in range(1, min(len(steps), len(names.parts) - 1) + 1):
                if all(fnmatchcase(name, step) for name, step in zip(names.parts[-depth:], steps, strict=False)):
                    yield names.parents[depth - 1]

    def _subset_at(self, root: Path) -> str:
        """The subset whose folder `root` is, else the first."""
        inside = os.path.relpath(os.path.abspath(root), os.path.abspath(self.root)).split(os.sep)[0]
        return inside if inside in self.subsets else next(iter(self.subsets))

    def _present(self, candidates: list[Pair], expected: int, images: bool) -> list[Pair]:
        """The pairs whose files are there, after the checks that the class promises."""
        # Where flow files are scored, the images say only which pairs belong to this pass, if they are there at all.
        first = images or any(os.path.isfile(pair.first) for pair in candidates)
        missing: list[Path] = []
        present: list[Pair] = []
        for pair in candidates:
            wanted = [pair.first] * first + [pair.second] * images + ([] if pair.flow is None else [pair.flow])
            absent = [path for path in wanted if not os.path.isfile(path)]  # False for names that are too long
            missing += absent
            if not absent:
                present.append(pair)
        kinds = sorted({kind for pair in present for kind in pair.extras})
        there = {kind: [pair.name for pair in present if self._has(pair, kind)] for kind in kinds}
        for kind in kinds:
            if there[kind] or kind in self.required_extras:
                missing += [pair.extras[kind] for pair in present if kind in pair.extras and not self._has(pair, kind)]
        if not present:
            first_gone = f"; {self._shown(missing[0])} is missing" if missing else ""
            raise InputError(f"no {self.title} ({self.subset}) under {self.root}: expected {self.layout}{first_gone}")
        if not self.partial and (missing or len(present) < expected):
            gone = ", ".join(map(self._shown, missing[:3]))
            gone = f"missing {counted(len(missing), 'file')} such as {gone}" if missing else f"expected {self.layout}"
            raise InputError(
                f"{self.title} ({self.subset}) under {self.root} is incomplete: "
                f"{counted(len(present), 'pair', of=expected)}, {gone}; add them, or give --partial to evaluate what "
                "is there"
            )
        for kind in kinds:
            if len(there[kind]) < len(present):
                meaning = self.without_extra.get(kind, "numbers that need them cover these pairs only")
                self.notes.append(
                    f"{kind} files are there for {counted(len(there[kind]), 'pair', of=len(present))}: {meaning}"
                )
        self.expected, self.missing = expected, missing
        return [
            dataclasses.replace(pair, extras={kind: path for kind, path in pair.extras.items() if path.is_file()})
            for pair in present
        ]

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    @staticmethod
    def _has(pair: Pair, kind: str) -> bool:
        return kind in pair.extras and pair.extras[kind].is_file()

    def files(self) -> list[Path]:
        """Every file that the pairs are made of."""
        found = [path for pair in self.pairs for path in (pair.first, pair.second, pair.flow, *pair.extras.values())]
        return list(dict.fromkeys(path for path in found if path is not None))

    def read_images(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """First and second image, HxWx3 RGB, uint8 or (all of 0 to 65535) uint16."""
        return self.read_image(pair.first), self.read_image(pair.second)

    def read_truth(self, pair: Pair) -> Truth | None:
        """Ground truth, or None where the benchmark keeps it."""
        if pair.flow is None:
            return None
        flow, valid = read_flow(pair.flow)
        return Truth(flow, valid, size=valid.shape)

    def prediction_size(self, pair: Pair) -> tuple[int, int]:
        """Height and width of a prediction where there is no ground truth to compare with."""
        return image_size(pair.first)

    def training_flow(self, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
        """Flow and validity on the grid of the first image."""
        return truth.flow, truth.valid

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        pair = self.pairs[index]
        first, second = self.read_images(pair)
        truth = self.read_truth(pair)
        flow, valid = (None, None) if truth is None else self.training_flow(truth)
        return FlowSample(pair.name, first, second, flow, valid, {} if truth is None else truth.masks)

    def __iter__(self) -> Iterator[FlowSample]:
        return (self[index] for index in range(len(self)))
