"""Frames in order, one at a time: a folder of images or a video. Constant memory."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from flowzoo.errors import InputError, counted
from flowzoo.files.frames import frames_of
from flowzoo.files.images import image_depth, image_size, read_image
from flowzoo.inference.sources import unique_names


class Frame(NamedTuple):
    """HxWx3 uint8 RGB, and the name that what is made from it gets."""

    name: str
    pixels: np.ndarray


class FrameSequence(Protocol):
    """Frames of one size, in order; may be iterated again.

    Attributes:
        title: what it is, for messages.
        size: (height, width).
        count: how many, or None where only reading to the end tells.
        rate: frames per second of a video, else None.
        inputs: every file that is read.
        notes: what else the user should know.
    """

    title: str
    size: tuple[int, int]
    count: int | None
    rate: float | None
    inputs: list[Path]
    notes: list[str]

    def names(self) -> Iterator[str]:
        """The frames' names in order, as far as they are known beforehand."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...


class FolderFrames:
    """The images of a folder; see `flowzoo.files.frames.frames_of`.

    Raises:
        InputError: as there, fewer images than `least`, or images of several sizes.
    """

    rate: float | None = None

    def __init__(self, folder: Path, least: int, *, pattern: str | None = None, partial: bool = False) -> None:
        found = frames_of(folder, pattern=pattern, partial=partial)
        self.inputs, self.notes, self.title = found.files, found.notes, f"folder {folder}"
        self.count: int | None = len(self.inputs)
        if self.count < least:
            left_out = "".join(f"; {note}" for note in self.notes)
            raise InputError(f"{folder} has {counted(self.count, 'frame')}: a clip has at least {least}{left_out}")
        self.size = found.size
        self.notes += told_eight_bits(self.inputs)
        self._names = unique_names(self.inputs)

    def names(self) -> Iterator[str]:
        """See `FrameSequence`."""
        return iter(self._names)

    def __iter__(self) -> Iterator[Frame]:
        for name, path in zip(self._names, self.inputs, strict=True):
            pixels = read_image(path)
            if pixels.shape[:2] != self.size:
                raise InputError(f"{path} has changed its size while it was read")
            yield Frame(name, pixels)


class VideoFrames:
    """The frames of a video.

    Raises:
        InputError: no video, one that is cut (unless `partial`), or fewer frames than `least`.
    """

    def __init__(self, path: Path, least: int, *, partial: bool = False) -> None:
        from flowzoo.files.video import open_video

        self.path, self.partial, self.title, self.inputs = path, partial, path.name, [path]
        with open_video(path, partial=partial) as video:
            self.size = (video.height, video.width)
            self.rate, self.count, self.notes = video.rate, video.frames, list(video.notes)
            found = sum(1 for _ in itertools.islice(video, least))
        if found < least:
            raise InputError(f"{path} has {counted(found, 'frame')}: a clip has at least {least}")

    def names(self) -> Iterator[str]:
        """See `FrameSequence`."""
        return (self._name(index) for index in range(self.count or 1))

    def _name(self, index: int) -> str:
        return f"{self.path.stem}_{index:06d}"

    def __iter__(self) -> Iterator[Frame]:
        from flowzoo.files.video import open_video

        with open_video(self.path, partial=self.partial) as video:
            for index, pixels in enumerate(video):
                yield Frame(self._name(index), pixels)


def told_eight_bits(paths: Iterable[Path]) -> list[str]:
    """Which of these images is the first to hold more than the 8 bits that are taken of it."""
    for path in paths:
        if (bits := image_depth(path)) > 8:
            return [f"{path.name} holds {bits} bits a channel: frames are taken, and made, with 8"]
    return []


def open_frames(
    path: str | Path, least: int = 2, *, pattern: str | None = None, partial: bool = False
) -> FrameSequence:
    """The frames of a folder or a video.

    Args:
        path: which.
        least: fewer frames are refused.
        pattern: of a folder, only names that match it.
        partial: take what is there of a folder with gaps, or of a cut video.

    Raises:
        InputError: it is neither, or see the classes.
    """
    path = Path(path)
    if path.is_dir():
        return FolderFrames(path, least, pattern=pattern, partial=partial)
    if pattern is not None:
        raise InputError(f"--pattern chooses among the frames of a folder, and {path} is none: drop it")
    try:
        return VideoFrames(path, least, partial=partial)
    except InputError as error:
        try:
            image_size(path)
        except InputError:
            raise error from None
        raise InputError(f"{path} is one image: give a folder of frames or a video ({error})") from error
