"""What every data set of clips is: frames in order, found at once, read one by one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import ClassVar

import numpy as np

from flowzoo.errors import InputError
from flowzoo.files.frames import told_gaps
from flowzoo.files.images import SUFFIXES, natural_key, read_eight_bits
from flowzoo.files.reading import existing_folder
from flowzoo.settings import suggestion


@dataclass(frozen=True)
class Clip:
    """Frames in order; nothing is read yet.

    Attributes:
        name: short and unique within the data set.
        frames: reads frame n: HxWx3 uint8 RGB, for n from 0 to `length` - 1.
        length: number of frames.
    """

    name: str
    frames: Callable[[int], np.ndarray]
    length: int


@dataclass(frozen=True)
class FileFrames:
    """Frames that are files of their own."""

    files: tuple[Path, ...]

    def __call__(self, index: int) -> np.ndarray:
        """HxWx3 uint8 RGB."""
        return read_eight_bits(self.files[index])


class ClipDataset:
    """Clips of a data set on disk. A subclass lists them. `notes` says what was left out.

    Args:
        root: folder of the data set, or its parent.
        subset: one of `subsets`; None = the first of them.
        partial: take the clips that are there instead of insisting on all.

    Raises:
        InputError: no such folder or subset, or clips are missing; the message says which were expected where.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    layout: ClassVar[str] = ""
    markers: ClassVar[tuple[str, ...]] = ()
    subsets: ClassVar[Mapping[str, str]] = {"all": "every clip"}

    def __init__(self, root: str | PathLike[str], subset: str | None = None, *, partial: bool = False) -> None:
        self.subset = next(iter(self.subsets)) if subset is None else subset
        if self.subset not in self.subsets:
            raise InputError(f"{self.name} has no subset {subset!r}: {suggestion(self.subset, self.subsets)}")
        self.root, self.partial = self.find_root(Path(root)), partial
        self.notes: list[str] = []
        self.clips, missing = self.list_clips()
        if not self.clips:
            raise InputError(f"no {self.title} ({self.subset}) under {self.root}: expected {self.layout}")
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            shown = f"missing: {', '.join(missing[:3])}{more}"
            if not partial:
                raise InputError(
                    f"{self.title} ({self.subset}) under {self.root} is incomplete, {shown}; add them, or give "
                    "--partial to take what is there"
                )
            self.notes.append(shown)

    def find_root(self, root: Path) -> Path:
        """`root` itself, or the folder right below it that looks like this data set."""
        existing_folder(root, f"the folder of {self.title} or its parent with --root")
        children = sorted(entry for entry in root.iterdir() if entry.is_dir())
        for candidate in (root, *children):
            if any(next(candidate.glob(marker), None) for marker in self.markers):
                return candidate
        return root

    def list_clips(self) -> tuple[list[Clip], list[str]]:
        """The clips of the subset that are there, in order, and the names of those that are not."""
        raise TypeError(f"{type(self).__name__} does not list its clips")


def folder_clip(name: str, folder: Path) -> tuple[Clip, str]:
    """The images of a folder in natural order, unread; and what is missing between them, in words, or ""."""
    entries = [
        entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".")
    ]
    files = sorted(entries, key=lambda entry: natural_key(entry.name))
    return Clip(name, FileFrames(tuple(files)), len(files)), told_gaps(folder, files)
