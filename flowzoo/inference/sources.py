"""Where image pairs come from: two files, a folder of frames, a list of pairs, a video. Read lazily, in order."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from flowzoo.errors import InputError
from flowzoo.files.images import image_size, list_images, read_image

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".gif")


@dataclass(frozen=True)
class Pair:
    """Two images and the name that outputs of this pair get."""

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
    """

    title: str
    size: tuple[int, int]
    count: int | None
    rate: float | None
    inputs: list[Path]

    def pair_names(self) -> Iterator[str]:
        """The pairs' names in order, as far as they are known beforehand."""
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

    Raises:
        InputError: a file is missing or no image.
    """

    rate: float | None = None

    def __init__(self, files: list[tuple[Path, Path]], names: list[str], title: str) -> None:
        self.files, self.names, self.title = files, names, title
        self.inputs = list(dict.fromkeys(file for pair in files for file in pair))
        self.count: int | None = len(files)
        self.sizes = {path: image_size(path) for path in self.inputs}
        self.size = self.sizes[files[0][0]]

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

    def pairs(self, skip: Callable[[int, str], bool] | None = None) -> Iterator[Pair]:
        """See `PairSource`; a frame that two neighbouring pairs share is decoded once."""
        held: tuple[Path, np.ndarray] | None = None
        for index, (name, (first, second)) in enumerate(zip(self.names, self.files, strict=True)):
            if skip is not None and skip(index, name):
                continue
            before = held[1] if held is not None and held[0] == first else read_image(first)
            held = (second, read_image(second))
            yield Pair(name, before, held[1])


class VideoPairs:
    """Neighbouring frames of a video; constant memory."""

    def __init__(self, path: Path) -> None:
        from flowzoo.files.video import open_video

        self.path, self.title, self.inputs = path, path.name, [path]
        with open_video(path) as video:
            self.size = (video.height, video.width)
            self.rate: float | None = video.rate
            self.count: int | None = None if video.frames is None else max(0, video.frames - 1)

    def pair_names(self) -> Iterator[str]:
        """See `PairSource`."""
        return (self._name(index) for index in range(self.count or 1))

    def require_one_size(self) -> None:
        """See `PairSource`; a video whose frames change their size is refused while it is read."""

    def _name(self, index: int) -> str:
        return f"{self.path.stem}_{index:06d}"

    def pairs(self, skip: Callable[[int, str], bool] | None = None) -> Iterator[Pair]:
        """See `PairSource`.

        Raises:
            InputError: the video has fewer than two frames, or breaks off in the middle.
        """
        from flowzoo.files.video import open_video

        index = -1
        before: np.ndarray | None = None
        with open_video(self.path) as video:
            for index, frame in enumerate(video, -1):
                name = self._name(index)
                if before is not None and not (skip is not None and skip(index, name)):
                    yield Pair(name, before, frame)
                before = frame
        if index < 0:
            raise InputError(f"{self.path} has fewer than two frames: flow needs a pair")


def open_source(first: str, second: str | None, pairs_file: str | None) -> PairSource:
    """The source that the command line describes.

    Args:
        first: an image, a folder or a video.
        second: an image, when `first` is one.
        pairs_file: a text file with two image paths a line; then the other two are empty.

    Raises:
        InputError: something is missing or there is nothing to do.
    """
    if pairs_file is not None:
        return _listed_pairs(Path(pairs_file))
    path = Path(first)
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path")
    if second is not None:
        for given in (path, Path(second)):
            if given.is_dir():
                raise InputError(f"{given} is a folder: give two image files, or one folder alone")
        return FilePairs([(path, Path(second))], [path.stem], f"{path.name} -> {Path(second).name}")
    if path.is_dir():
        frames = list_images(path)
        if len(frames) < 2:
            raise InputError(f"{path} has {len(frames)} images: a folder of frames needs at least two")
        files = list(itertools.pairwise(frames))
        return FilePairs(files, unique_names([a for a, _ in files]), f"folder {path}")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoPairs(path)
    raise InputError(
        f"{path} is one file: give a second image, a folder of frames, or a video ({VIDEO_SUFFIXES[0]}, ...)"
    )


def _listed_pairs(path: Path) -> FilePairs:
    """Two paths a line, separated by white space or a comma; relative ones start at the list's folder."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list of pairs {path}: {error}") from error
    files = []
    for number, line in enumerate(lines, 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2:
            raise InputError(f"{path}, line {number}: expected two image paths, found {len(words)} words")
        files.append((path.parent / words[0], path.parent / words[1]))
    if not files:
        raise InputError(f"{path} lists no pairs: write two image paths a line")
    source = FilePairs(files, unique_names([first for first, _ in files]), f"list {path}")
    source.inputs.append(path)
    return source


def unique_names(paths: list[Path]) -> list[str]:
    """File stems; where two are equal, their folders (and then a number) tell them apart."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    longer = [f"{path.parent.name}_{path.stem}" for path in paths]
    if len(set(longer)) == len(longer):
        return longer
    width = len(str(len(paths)))
    return [f"{index:0{width}d}_{stem}" for index, stem in enumerate(stems, 1)]
