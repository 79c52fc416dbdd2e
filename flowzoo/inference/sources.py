"""Where image pairs come from: two files, a folder of frames, a list of pairs, a video. Read lazily, in order."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from flowzoo.errors import InputError, counted
from flowzoo.files.exr import is_exr
from flowzoo.files.frames import frames_of
from flowzoo.files.images import image_depth, image_size, read_picture
from flowzoo.files.pair_list import STANDARD_INPUT, read_pair_list

PROBED = 3
"""Frames of a video that are decoded to see whether it holds a single pair."""


@dataclass(frozen=True)
class Pair:
    """Two images, HxWx3 uint8 or uint16, and the name that outputs of this pair get."""

    name: str
    first: np.ndarray
    second: np.ndarray


class PairSource(Protocol):
    """Image pairs in order.

    Attributes:
        title: what the source is, for messages.
        size: (height, width) of the first image.
        count: number of pairs, or None where only reading to the end tells.
        rate: frames per second of a video, else None.
        inputs: every file that is read.
        notes: what is left out, and what else the user should know.
        folder: folder of frames that the pairs are neighbours in, or None.
        once: it can be read only once: a camera, standard input.
    """

    title: str
    size: tuple[int, int]
    count: int | None
    rate: float | None
    inputs: list[Path]
    notes: list[str]
    folder: Path | None
    once: bool

    def pair_names(self) -> Iterator[str]:
        """The pairs' names in order, as far as they are known beforehand."""
        ...

    def all_names(self) -> Iterator[str]:
        """The names of all pairs in order; a video is decoded for that."""
        ...

    def afterthoughts(self) -> list[str]:
        """What was left out of `pairs`, known when they have been read."""
        ...

    def require_one_size(self) -> None:
        """For networks that cannot match images of two sizes.

        Raises:
            InputError: the images of a pair differ in size.
        """
        ...

    def pairs(self, skip: Callable[[int, str], bool] | None = None) -> Iterator[Pair]:
        """The pairs in order, without those for which `skip(index, name)` holds (not decoded where possible)."""
        ...


class FilePairs:
    """Pairs of image files: one pair, a list of them, or neighbours in a folder.

    Args:
        files: first and second image of every pair, at least one.
        names: of the pairs; None: from the first images' names.
        title: for messages.
        sizes: sizes of the images, where they are known.
        partial: leave out pairs whose images turn out to be damaged, and note it, instead of refusing them.

    Raises:
        InputError: a file is missing or no image.
    """

    rate: float | None = None
    folder: Path | None = None
    once: bool = False

    def __init__(
        self,
        files: list[tuple[Path, Path]],
        title: str,
        names: list[str] | None = None,
        sizes: Mapping[Path, tuple[int, int]] | None = None,
        *,
        partial: bool = False,
    ) -> None:
        self.files, self.title, self.partial = files, title, partial
        self.names = unique_names([first for first, _ in files]) if names is None else names
        self.inputs = list(dict.fromkeys(file for pair in files for file in pair))
        self.notes: list[str] = []
        self.damaged: dict[str, str] = {}
        self.count: int | None = len(files)
        self.sizes = {path: image_size(path) for path in self.inputs} if sizes is None else sizes
        self.size = self.sizes[files[0][0]]
        self.notes += told_depth(self.inputs)

    def require_one_size(self) -> None:
        """See `PairSource`."""
        for pair in self.files:
            (first, second) = (self.sizes[path] for path in pair)
            if first != second:
                shown = [f"{width}x{height}" for height, width in (first, second)]
                raise InputError(f"{pair[0]} is {shown[0]} but {pair[1]} is {shown[1]}: resize one of them")

    def pair_names(self) -> Iterator[str]:
        """See `PairSource`."""
        return iter(self.names)

    def all_names(self) -> Iterator[str]:
        """See `PairSource`."""
        return iter(self.names)

    def pairs(self, skip: Callable[[int, str], bool] | None = None) -> Iterator[Pair]:
        """See `PairSource`; a frame that two neighbouring pairs share is decoded once.

        Raises:
            InputError: an image is damaged, and `partial` does not allow it.
        """
        held: tuple[Path, np.ndarray] | None = None
        for index, (name, (first, second)) in enumerate(zip(self.names, self.files, strict=True)):
            if skip is not None and skip(index, name):
                continue
            try:
                before = held[1] if held is not None and held[0] == first else read_picture(first)
                held = (second, read_picture(second))
            except InputError as error:
                if not self.partial:
                    raise
                self.damaged.setdefault(name, str(error))
                continue
            yield Pair(name, before, held[1])

    def afterthoughts(self) -> list[str]:
        """See `PairSource`."""
        if not self.damaged:
            return []
        first = next(iter(self.damaged.values()))
        return [f"left out {counted(len(self.damaged), 'pair')} with damaged images, first: {first}"]


def told_depth(paths: list[Path]) -> list[str]:
    """What the user should know of how images' values are taken, in one line of each kind."""
    notes: dict[str, str] = {}
    for path in paths:
        if is_exr(path):
            kind, text = "light", "taken as linear light: networks see it as sRGB, with values below 0 and above 1 cut"
            notes.setdefault(kind, f"{path.name} is {text}")
        elif 8 < (bits := image_depth(path)) < 16:
            notes.setdefault("depth", f"{path.name} holds {bits} bits a channel: networks take the upper 8 of them")
    return list(notes.values())


class VideoPairs:
    """Neighbouring frames of a video; constant memory.

    Raises:
        InputError: no video, one that is cut (unless `partial`), or fewer than two frames.
    """

    folder: Path | None = None
    once: bool = False

    def __init__(self, path: Path, *, partial: bool = False) -> None:
        from flowzoo.files.video import open_video

        self.path, self.partial, self.title, self.inputs = path, partial, path.name, [path]
        with open_video(path, partial=partial) as video:
            self.size = (video.height, video.width)
            self.rate: float | None = video.rate
            self.notes = list(video.notes)
            probed = sum(1 for _ in itertools.islice(video, PROBED))
            if probed < 2:
                raise InputError(f"{path} has fewer than two frames: flow needs a pair")
            # Two frames are one pair for sure; beyond that a file's own number of frames need not be right.
            self.count: int | None = 1 if probed == 2 else None if video.frames is None else max(2, video.frames - 1)

    def pair_names(self) -> Iterator[str]:
        """See `PairSource`."""
        return (self._name(index) for index in range(self.count or 1))

    def require_one_size(self) -> None:
        """See `PairSource`; a video whose frames change their size is refused while it is read."""

    def all_names(self) -> Iterator[str]:
        """See `PairSource`."""
        from flowzoo.files.video import open_video

        with open_video(self.path, partial=self.partial) as video:
            yield from (self._name(index) for index, _ in enumerate(video, -1) if index >= 0)

    def _name(self, index: int) -> str:
        return f"{self.path.stem}_{index:06d}"

    def pairs(self, skip: Callable[[int, str], bool] | None = None) -> Iterator[Pair]:
        """See `PairSource`.

        Raises:
            InputError: the video breaks off in the middle, and `partial` does not allow it.
        """
        from flowzoo.files.video import open_video

        before: np.ndarray | None = None
        with open_video(self.path, partial=self.partial) as video:
            for index, frame in enumerate(video, -1):
                name = self._name(index)
                if before is not None and not (skip is not None and skip(index, name)):
                    yield Pair(name, before, frame)
                before = frame

    def afterthoughts(self) -> list[str]:
        """See `PairSource`; what is missing of a video is known before."""
        return []


def open_source(
    first: str,
    second: str | None = None,
    pairs_file: str | None = None,
    *,
    pattern: str | None = None,
    partial: bool = False,
) -> PairSource:
    """The source that the command line describes.

    Args:
        first: an image, a folder or a video.
        second: an image, when `first` is one.
        pairs_file: a list of pairs (see `flowzoo.files.pair_list`); then the other two are empty.
        pattern: of a folder, only names that match it.
        partial: take what is there of a folder with gaps, of a list with missing images, or of a cut video.

    Raises:
        InputError: something is missing or there is nothing to do.
    """
    if pairs_file is not None:
        return _listed_pairs(pairs_file, partial)
    path = Path(first)
    if second is not None:
        for given in (path, Path(second)):
            if os.path.isdir(given):
                raise InputError(f"{given} is a folder: give two image files, or one folder alone")
        return FilePairs([(path, Path(second))], f"{path.name} -> {Path(second).name}")
    if os.path.isdir(path):
        return _neighbours(path, pattern, partial)
    return _video(path, partial)


def _neighbours(folder: Path, pattern: str | None, partial: bool) -> FilePairs:
    frames = frames_of(folder, pattern=pattern, partial=partial)
    if len(frames.files) < 2:
        left_out = "".join(f"; {note}" for note in frames.notes)
        raise InputError(f"{folder} has 1 image: a folder of frames needs at least two{left_out}")
    source = FilePairs(list(itertools.pairwise(frames.files)), f"folder {folder}", sizes=frames.sizes, partial=partial)
    source.notes += frames.notes
    source.folder = folder
    return source


def _video(path: Path, partial: bool) -> VideoPairs:
    """The video at `path`, whatever it is called."""
    try:
        return VideoPairs(path, partial=partial)
    except InputError as error:
        try:
            image_size(path)
        except InputError:
            raise error from None
        raise InputError(
            f"{path} is one image: give a second image, a folder of frames, or a video ({error})"
        ) from error


def _listed_pairs(path: str, partial: bool) -> FilePairs:
    listed = read_pair_list(path)
    sizes: dict[Path, tuple[int, int]] = {}
    pairs, faults = [], []
    for pair in listed:
        try:
            sizes |= {image: image_size(image) for image in (pair.first, pair.second) if image not in sizes}
            pairs.append(pair)
        except InputError as error:
            faults.append(f"the list {path}, line {pair.line}: {error}")
            if not partial:
                raise InputError(faults[0]) from error
    if not pairs:
        raise InputError(f"no pair of the list {path} is there; {faults[0]}")
    source = FilePairs([(pair.first, pair.second) for pair in pairs], f"list {path}", sizes=sizes, partial=partial)
    if path != STANDARD_INPUT:
        source.inputs.append(Path(path))
    if faults:
        source.notes.append(f"left out {counted(len(faults), 'line', of=len(listed))}, first: {faults[0]}")
    if with_flow := sum(pair.flow is not None for pair in pairs):
        source.notes.append(f"the third column of {path} (flow, {counted(with_flow, 'line')}) is not needed here")
        source.inputs += [pair.flow for pair in pairs if pair.flow is not None]
    return source


def unique_names(paths: list[Path]) -> list[str]:
    """File stems; where two are equal but for case, their folders (and then a number) tell them apart."""
    stems = [path.stem for path in paths]
    longer = [f"{path.parent.name}_{path.stem}" for path in paths]
    for names in (stems, longer):
        if len({name.casefold() for name in names}) == len(names):
            return names
    width = len(str(len(paths)))
    return [f"{index:0{width}d}_{stem}" for index, stem in enumerate(stems, 1)]
