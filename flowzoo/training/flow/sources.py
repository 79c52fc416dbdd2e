"""Where the pairs of a training stage come from, by name: "NAME" or "NAME/SUBSET"."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import torch

from flowzoo import settings
from flowzoo.augmentation import TrainingSample
from flowzoo.datasets.catalogue import dataset_class, list_datasets, open_dataset
from flowzoo.datasets.dataset import FlowDataset, Pair
from flowzoo.errors import InputError, counted
from flowzoo.files.flow import read_flow

if TYPE_CHECKING:
    from flowzoo.synthetic.textures import Cutouts, Textures

HELD_OUT = 10  # of a list of pairs without subsets of its own, every tenth pair is for validation
RENDERED = ("scenes", "static", "dynamic")
SCENE = (288, 384)  # height and width of rendered scenes where nothing else is said

Pictures = TypeVar("Pictures", "Textures", "Cutouts")
_OPEN: WeakValueDictionary[tuple[Callable[[Path], Any], Path], Any] = WeakValueDictionary()


class Source(Protocol):
    """Training pairs by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TrainingSample: ...


class DatasetSource:
    """The pairs of an evaluation data set that have ground truth, as training samples.

    With `both_directions`, one sample for every two pairs that are each other's reverse, with both ground truths.

    Attributes:
        notes: what of the data set is not there or not taken, one line each.
    """

    def __init__(self, dataset: FlowDataset, labels: "Labels | None" = None, both_directions: bool = False) -> None:
        self.dataset, self.sparse, self.labels = dataset, dataset.sparse, labels
        self.reverses: dict[int, int] = {}
        self.indices = [index for index, pair in enumerate(dataset.pairs) if pair.flow is not None]
        self.notes = [*dataset.notes]
        left_out = len(dataset.pairs) - len(self.indices)
        if left_out:
            self.notes.append(f"left out: {counted(left_out, 'pair', 'have', of=len(dataset.pairs))} no ground truth")
        if both_directions:
            found = len(self.indices)
            self.reverses = reverses_of(dataset.pairs, self.indices)
            self.indices = sorted(self.reverses)
            if not self.indices:
                raise InputError(f"{dataset.name} ({dataset.subset}) has no pairs with ground truth in both directions")
            single = found - 2 * len(self.indices)
            if single:
                self.notes.append(
                    f"{counted(single, 'pair', 'are', of=found)} left out: the reverse of them is not there"
                )
        if labels is not None:
            labelled = sum(labels.path_of(dataset.pairs[index]) is not None for index in self.indices)
            if labelled < len(self.indices):
                self.notes.append(f"{counted(labelled, 'pair', 'have', of=len(self.indices))} labels")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> TrainingSample:
        pair = self.pair(index)
        sample = self.dataset[self.indices[index]]
        assert sample.flow is not None  # only pairs with ground truth are in the list
        assert sample.valid is not None
        size = sample.first.shape[:2]
        for path, other in ((pair.second, sample.second.shape[:2]), (pair.flow, sample.valid.shape)):
            check_size(pair.first, size, path, other)
        if not sample.valid.any():
            raise InputError(
                f"{pair.flow} has no valid pixel, so nothing can be learned from it: take its line out, or mend it"
            )
        first, second, flow = (
            torch.from_numpy(array).permute(2, 0, 1).contiguous()
            for array in (sample.first, sample.second, sample.flow)
        )
        labels = None if self.labels is None else self.labels.of(pair)
        if labels is not None and self.labels is not None:
            check_size(pair.first, size, self.labels.path_of(pair), labels.shape[1:])
        valid = torch.from_numpy(sample.valid)
        return TrainingSample(first, second, flow.float(), valid, self.sparse, labels, self._reverse(index, size))

    def pair(self, index: int) -> Pair:
        """The files of sample `index`."""
        return self.dataset.pairs[self.indices[index]]

    def _reverse(self, index: int, size: tuple[int, ...]) -> torch.Tensor | None:
        if self.indices[index] not in self.reverses:
            return None
        pair = self.dataset.pairs[self.reverses[self.indices[index]]]
        truth = self.dataset.read_truth(pair)
        assert truth is not None  # only pairs with ground truth are in the list
        reverse = _as_map(*self.dataset.training_flow(truth))
        check_size(pair.first, size, pair.flow, reverse.shape[1:])
        return reverse


def check_size(first: Path, size: tuple[int, ...], other: Path | None, found: tuple[int, ...]) -> None:
    """A file of a pair must have the size (height, width) of its first image.

    Raises:
        InputError: it has another.
    """
    if tuple(size) != tuple(found):
        sizes = f"{found[1]}x{found[0]} pixels, and not {size[1]}x{size[0]}"
        raise InputError(f"{other} has {sizes} as {first}: it cannot belong to it; correct the pair")


def reverses_of(pairs: list[Pair], indices: list[int]) -> dict[int, int]:
    """Of every two pairs that are each other's reverse, the earlier one's index -> the later one's."""
    places = {(pairs[index].first, pairs[index].second): index for index in indices}
    found = {}
    for (first, second), index in places.items():
        other = places.get((second, first))
        if other is not None and index < other:
            found[index] = other
    return found


def _as_map(flow: np.ndarray, valid: np.ndarray) -> torch.Tensor:
    """HxWx2 and HxW -> (3,H,W) float32: flow, and 1 where it is known."""
    return torch.from_numpy(np.concatenate([flow, valid[..., None]], axis=2)).permute(2, 0, 1).float().contiguous()


class Labels:
    """A teacher's flow by image pair: what `flowzoo distill` wrote into `folder`, or into folders right below it.

    Raises:
        InputError: there is no list of labels.
    """

    def __init__(self, folder: Path) -> None:
        lists = [path for path in (folder / "pairs.txt", *sorted(folder.glob("*/pairs.txt"))) if path.is_file()]
        if not lists:
            raise InputError(f"no labels in {folder}: make them with flowzoo distill, or set labels to their folder")
        pairs = [pair for path in lists for pair in open_dataset("pairs", path, images=False).pairs]
        self.files = {(pair.first.resolve(), pair.second.resolve()): pair.flow for pair in pairs}

    def path_of(self, pair: Pair) -> Path | None:
        """The file with the labels of a pair, or None."""
        return self.files.get((pair.first.resolve(), pair.second.resolve()))

    def of(self, pair: Pair) -> torch.Tensor | None:
        """(3,H,W) float32: flow, and 1 where it counts; None for a pair without labels."""
        path = self.path_of(pair)
        return None if path is None else _as_map(*read_flow(path))


def open_source(
    name: str,
    root: Path | None,
    labels: str = "",
    both_directions: bool = False,
    scene: tuple[int, int] = SCENE,
) -> Source:
    """The source `name` under `root`.

    "scenes", "static" and "dynamic" are rendered on the fly from the folder photographs in `root`, or from `root`
    itself; scenes and dynamic with the cut-outs in its folder cutouts where there is one. "scenes/NAME" has the
    settings of that name in `flowzoo.synthetic.settings.SCENES`. "synthetic" is a folder that `flowzoo synth --packed`
    wrote: `root` itself, or a folder of that name in it, "synthetic/FOLDER" the one called FOLDER; the other names are
    those of `flowzoo evaluate`. Of a data set that is not complete, the pairs that are there are taken.
    `labels` is a folder of `flowzoo distill`, relative to `root`; pairs that it does not list have no labels.
    `both_directions` joins pairs that are each other's reverse; rendered ones know both. `scene` is the height and
    width of rendered scenes of optical flow.

    Raises:
        InputError: nothing of that name, or nothing in it.
    """
    if root is None:
        raise InputError("give the training data: --root DIR, or --data with a list of pairs")
    if name.partition("/")[0] in RENDERED:
        return rendered(name, root, both_directions, scene)
    if name.partition("/")[0] == "synthetic":
        from flowzoo.synthetic import PackedPairs

        base, _, folder = name.partition("/")
        packed = root / folder if folder else root if (root / "manifest.json").is_file() else root / base
        return PackedPairs(packed, both_directions=both_directions)
    return DatasetSource(open_training_set(name, root), Labels(root / labels) if labels else None, both_directions)


def rendered(name: str, root: Path, both_directions: bool = False, scene: tuple[int, int] = SCENE) -> Source:
    """Rendered pairs, without end: of optical flow ("scenes", of size `scene`), or of geometric matching at 520x520.

    Raises:
        InputError: no photographs in `root`, or no scenes of that name.
    """
    from flowzoo.synthetic import SceneSettings, SyntheticPairs
    from flowzoo.synthetic.settings import SCENES
    from flowzoo.synthetic.textures import Cutouts, Textures

    kind, _, variant = name.partition("/")
    known = {"scenes": SCENES, "static": {"": SceneSettings.static}, "dynamic": {"": SceneSettings.dynamic}}[kind]
    variant = variant or ("varied" if kind == "scenes" else "")
    if variant not in known:
        raise InputError(f"there are no {kind} {variant!r}: {settings.suggestion(variant, known)}")
    photographs, cutouts = root / "photographs", root / "cutouts"
    return SyntheticPairs(
        _shared(Textures, photographs if photographs.is_dir() else root),
        _shared(Cutouts, cutouts) if kind != "static" and cutouts.is_dir() else None,
        size=scene if kind == "scenes" else (520, 520),
        settings=known[variant](),
        both_directions=both_directions,
    )


def _shared(pictures: Callable[[Path], Pictures], folder: Path) -> Pictures:
    """Photographs or cut-outs of a folder; sources that are open at one time share them."""
    place = (pictures, folder.absolute())
    found: Pictures | None = _OPEN.get(place)
    if found is None:
        found = _OPEN[place] = pictures(folder)
    return found


def open_training_set(name: str, root: Path) -> FlowDataset:
    """The data set "NAME" or "NAME/SUBSET", in `root` or up to two folders below it.

    Subsets "train" and "val" of `pairs` are nine and one of every ten lines.

    Raises:
        InputError: an unknown name or subset, or nothing there.
    """
    base, _, subset = name.partition("/")
    if base not in list_datasets():
        known = [*list_datasets(), "synthetic", *RENDERED]
        raise InputError(f"no data source named {base!r}: {settings.suggestion(base, known)}")
    split = base == "pairs" and subset in ("train", "val")
    dataset = open_dataset(base, _folder_of(base, root), None if split else subset or None, partial=True)
    if len(dataset) < dataset.expected:
        first = f", the first file that is missing is {dataset.missing[0]}" if dataset.missing else ""
        dataset.notes.append(f"{counted(len(dataset), 'pair', 'are', of=dataset.expected)} there{first}")
    if split:
        held_out = [index % HELD_OUT == HELD_OUT - 1 for index in range(len(dataset.pairs))]
        dataset.pairs = [p for p, out in zip(dataset.pairs, held_out, strict=True) if out == (subset == "val")]
    return dataset


def _folder_of(name: str, root: Path) -> Path:
    """The nearest folder that looks like the data set; `root` itself where none does (its reader then says why)."""
    markers = dataset_class(name).markers
    levels = ([root], root.glob("*"), root.glob("*/*"))
    for level in levels:
        for folder in sorted(path for path in level if path.is_dir()):
            if any(next(folder.glob(marker), None) for marker in markers):
                return folder
    return root
