"""Where the flow that is scored comes from: a network, or a folder of files."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from flowzoo.datasets.dataset import FlowDataset, Pair
from flowzoo.errors import InputError, counted
from flowzoo.evaluation.frame_cache import FrameCache
from flowzoo.files.flow import read_flow
from flowzoo.files.reading import existing_folder
from flowzoo.inference.outputs import EXTRA_FILES
from flowzoo.inference.sources import unique_names

if TYPE_CHECKING:
    from flowzoo.inference.estimator import Estimator

BESIDE = ("_colour", *(f"_{name}" for name in EXTRA_FILES))
"""Endings of the names of what `flowzoo infer` writes beside a flow."""
Found = tuple[np.ndarray, np.ndarray]
"""A prediction: HxWx2 float32 flow and HxW bool validity."""


class Predictor(Protocol):
    """Reads what it needs of a pair in a background thread, then predicts a batch in the main one.

    Attributes:
        seconds: time spent in `predict`.
    """

    seconds: float

    def load(self, pair: Pair) -> tuple[np.ndarray, ...]:
        """Arrays that `predict` needs of this pair."""
        ...

    def predict(self, loaded: Sequence[tuple[np.ndarray, ...]]) -> list[Found]:
        """One prediction for each."""
        ...


class NetworkPredictor:
    """Runs a network.

    Attributes:
        together: compute the pairs of a batch at once, where their sizes agree. Not on a CPU: a batch gains it
            nothing, and its convolutions round differently in one, so that a pair's flow would depend on the others.
    """

    def __init__(self, estimator: "Estimator", dataset: FlowDataset) -> None:
        self.together = estimator.network.device.type != "cpu"
        self.estimator, self.dataset, self.seconds = estimator, dataset, 0.0
        dataset.read_image = FrameCache(dataset.read_image)

    def load(self, pair: Pair) -> tuple[np.ndarray, ...]:
        """Both images."""
        first, second = self.dataset.read_images(pair)
        if self.estimator.network.same_size and first.shape != second.shape:
            raise InputError(
                f"{pair.name}: {pair.first.name} is {first.shape[1]}x{first.shape[0]}, {pair.second.name} is "
                f"{second.shape[1]}x{second.shape[0]}: {self.estimator.network.model_name} takes images of one size"
            )
        return first, second

    def predict(self, loaded: Sequence[tuple[np.ndarray, ...]]) -> list[Found]:
        """Flow at the first images' size."""
        began = time.perf_counter()
        flows = []
        for group in same_sizes(loaded) if self.together else [[arrays] for arrays in loaded]:
            flows += self.estimator.batch([images[0] for images in group], [images[1] for images in group])
        self.seconds += time.perf_counter() - began
        return [(estimate.flow, np.ones(estimate.flow.shape[:2], bool)) for estimate in flows]


def same_sizes(loaded: Sequence[tuple[np.ndarray, ...]]) -> list[list[tuple[np.ndarray, ...]]]:
    """Neighbours of equal shapes together, in order."""
    groups: list[list[tuple[np.ndarray, ...]]] = []
    for arrays in loaded:
        if groups and [a.shape for a in groups[-1][0]] == [a.shape for a in arrays]:
            groups[-1].append(arrays)
        else:
            groups.append([arrays])
    return groups


class FilePredictor:
    """Reads flow files: those whose names mirror the ground truth's, or that have their first image's name.

    The latter is what `flowzoo infer` calls them, for a folder of frames or for a list of all pairs. What it writes
    beside them (pictures, backward flow, ...) and its flow from the second image of one pair to the first of the next
    are left alone.

    Args:
        folder: where they lie.
        dataset: what they are predictions of.
        limit: number of its pairs that are to be scored, from the start; None = all.
        partial: leave pairs without a file out of the data set, with a note.

    Attributes:
        files: file of every pair, by the pair's name.

    Raises:
        InputError: the folder is missing, lacks a file, or holds one that belongs to no pair.
    """

    def __init__(self, folder: Path, dataset: FlowDataset, limit: int | None = None, *, partial: bool = False) -> None:
        pairs = dataset.pairs[:limit]
        self.folder, self.seconds = existing_folder(folder, "the folder of flow files with --predictions"), 0.0
        listed = unique_names([pair.first for pair in dataset.pairs])
        self._listed = {pair.name: name for pair, name in zip(dataset.pairs, listed, strict=True)}
        found = {pair.name: self._find(pair) for pair in pairs}
        self.files = {name: path for name, path in found.items() if path is not None}
        missing = [pair.prediction for pair in pairs if pair.name not in self.files]
        if missing and not (partial and self.files):
            hint = ", or score those that are there with --partial" if self.files else ""
            raise InputError(
                f"--predictions {folder} lacks {counted(len(missing), 'file', of=len(pairs))}, first {missing[0]}; add "
                f"them (their names mirror the ground truth's){hint}"
            )
        extra = self._strangers(dataset)
        if extra:
            raise InputError(
                f"--predictions {folder} holds {counted(len(extra), 'file')} of no pair of {dataset.name}, first "
                f"{extra[0]}; remove them"
            )
        if missing:
            dataset.notes.append(f"predictions are there for {counted(len(self.files), 'pair', of=len(pairs))}")
            dataset.pairs = [pair for pair in pairs if pair.name in self.files]

    def _find(self, pair: Pair) -> Path | None:
        """The pair's file, if it is there."""
        named = self.folder / pair.prediction
        by_image = named.with_name(pair.first.stem + named.suffix)
        in_a_list = self.folder / (self._listed[pair.name] + named.suffix)
        return next((path for path in (named, by_image, in_a_list) if path.is_file()), None)

    def _strangers(self, dataset: FlowDataset) -> list[str]:
        """Files, relative to the folder, that look like predictions and are none of this data set."""
        predictions = [Path(name) for name in (*dataset.official, *(pair.prediction for pair in dataset.pairs))]
        suffixes = {path.suffix for path in predictions}
        known = {path.with_suffix("") for path in predictions} | set(map(Path, self._listed.values()))
        for pair in dataset.pairs:
            place = Path(pair.prediction)
            known |= {place.with_name(image.stem) for image in (pair.first, pair.second)}
        files = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.suffix in suffixes)
        return [
            path.as_posix()
            for path in sorted(files)
            if not path.name.startswith(".") and not known & _owners(path) and (self.folder / path).is_file()
        ]

    def path(self, pair: Pair) -> Path:
        """The file of a pair that is scored."""
        return self.files[pair.name]

    def load(self, pair: Pair) -> tuple[np.ndarray, ...]:
        """The file's flow and validity."""
        return read_flow(self.path(pair))

    def predict(self, loaded: Sequence[tuple[np.ndarray, ...]]) -> list[Found]:
        """They are read already."""
        return [(arrays[0], arrays[1]) for arrays in loaded]


def _owners(path: Path) -> set[Path]:
    """What a file may belong to, without suffix: "a_occlusion.png" is a file of itself or of "a"."""
    stem = path.with_suffix("")
    return {stem} | {
        stem.with_name(stem.name.removesuffix(ending)) for ending in BESIDE if stem.name.removesuffix(ending)
    }


def check_prediction(found: Found, size: tuple[int, int], *, sparse: bool, where: str) -> Found:
    """The prediction, cut to `size` where a network saw padded images.

    Raises:
        InputError: its size is wrong, a value is not finite, or pixels are missing that the protocol does not fill.
    """
    flow, valid = found
    height, width = size
    if valid.shape != size:
        raise InputError(
            f"{where} is {valid.shape[1]}x{valid.shape[0]} pixels, expected {width}x{height}; predict it again"
        )
    wrong = valid & ~np.isfinite(flow).all(axis=-1)
    gone = int(np.count_nonzero(wrong) if sparse else np.count_nonzero(wrong | ~valid))
    if gone:
        kind = "NaN or infinite" if np.count_nonzero(wrong) or not np.isfinite(flow).all() else "NaN or unknown"
        raise InputError(
            f"{where}: {counted(gone, 'pixel', 'are', of=valid.size)} {kind}; a prediction must be complete"
        )
    return flow, valid
