"""The frames of a folder: which files they are, in order, and what is left out; nothing goes missing in silence."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from flowzoo.errors import InputError, counted
from flowzoo.files.exr import is_exr
from flowzoo.files.images import SUFFIXES, image_size, natural_key
from flowzoo.files.reading import reason

PICTURES = (
    frozenset(SUFFIXES)
    | {
        ".gif",
        ".avif",
        ".tga",
        ".jp2",
        ".j2k",
        ".jpc",
        ".jpx",
        ".jpe",
        ".jfif",
        ".dib",
        ".pbm",
        ".apng",
        ".jxl",
        ".heic",
    }
    | {".heif", ".exr", ".hdr", ".dpx", ".psd", ".xcf", ".svg", ".dds", ".pcx", ".sgi", ".ico"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw"}
)
"""Suffixes of pictures; leaving one out would make neighbours of the frames beside it."""
DATA = frozenset({".pfm", ".flo", ".flo5", ".npy", ".npz", ".txt", ".csv", ".json", ".xml", ".yaml", ".yml", ".md"})
"""Suffixes of what lies beside frames and is none, whatever it looks like."""
TIMES = 1000
"""Numbers of neighbours that differ by at least this much, and not evenly, are times and no counts."""
SHOWN = 3
"""Names that a message gives; of more it gives the number."""


@dataclass(frozen=True)
class Frames:
    """Files in order, frame_2 before frame_10; sizes (height, width) by file; and what to tell the user."""

    files: list[Path]
    sizes: dict[Path, tuple[int, int]]
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of all frames.

        Raises:
            InputError: they have several.
        """
        first = self.files[0]
        for path in self.files:
            if self.sizes[path] != self.sizes[first]:
                shown = [f"{width}x{height}" for height, width in (self.sizes[first], self.sizes[path])]
                raise InputError(f"{first} is {shown[0]} but {path} is {shown[1]}: all frames of a clip have one size")
        return self.sizes[first]


def frames_of(
    folder: Path, *, pattern: str | None = None, partial: bool = False, choice: str = "choose others with --pattern"
) -> Frames:
    """The images of a folder as frames of one sequence.

    Their content decides, not their suffix. Hidden files are no frames; subfolders and files that are no pictures are
    left out and named in `notes`.

    Args:
        folder: where they lie; folders in it are not looked into.
        pattern: only names that match it, with * and ?.
        partial: leave out pictures that cannot be read and go on over gaps in the numbers, saying so in `notes`,
            instead of refusing.
        choice: how the user can take other files, for messages.

    Raises:
        InputError: the folder cannot be read, has no frames, a picture that cannot be read, the same frame in two
            formats, or a gap in its numbers.
    """
    names = _entries(folder)
    notes = []
    if pattern is not None:
        names = [name for name in names if fnmatchcase(name, pattern)]
        if not names:
            raise InputError(f"{folder} has nothing that matches --pattern {pattern}")
    files = sorted((folder / name for name in names), key=lambda file: natural_key(file.name))
    sizes: dict[Path, tuple[int, int]] = {}
    faults, others = [], []
    for file in files:
        if file.suffix.lower() in DATA or file.is_dir():
            others.append(file)
            continue
        try:
            sizes[file] = image_size(file)
        except InputError as error:
            if file.suffix.lower() not in PICTURES:
                others.append(file)
            elif partial:
                faults.append(str(error))
            else:
                raise InputError(f"{error}; mend it, {choice}, or --partial") from error
    frames = list(sizes)
    if not frames:
        raise InputError(f"{folder} has no images" + (f", only {_told(others)}" if others else ""))
    if others:
        notes.append(f"left out of {folder}, no images: {_told(others)}")
    if faults:
        notes.append(f"left out of {folder}: {counted(len(faults), 'picture')} that cannot be read, first: {faults[0]}")
    _refuse_doubles(folder, frames, choice)
    if 0 < sum(map(is_exr, frames)) < len(frames):
        raise InputError(f"{folder} holds .exr files and other images: {choice} (such as '*.exr'), or move some away")
    gaps = told_gaps(folder, frames)
    if gaps and not partial:
        raise InputError(f"{gaps}; add what is missing, or go on over gaps with --partial")
    if gaps:
        notes.append(f"{gaps}; pairs go over the gaps")
    return Frames(frames, sizes, notes)


def frames_in_folders(
    folders: Sequence[Path], *, partial: bool = False
) -> tuple[list[tuple[Path, list[Path]]], list[str]]:
    """Folders that hold a clip each, with its frames, and what to tell the user.

    Raises:
        InputError: as `frames_of`, or a clip has frames of several sizes.
    """
    clips: list[tuple[Path, list[Path]]] = []
    notes, others = [], []
    for folder in folders:
        names = _entries(folder)
        if not any(Path(name).suffix.lower() in PICTURES for name in names):
            others += [folder] * any((folder / name).is_file() for name in names)
            continue
        frames = frames_of(folder, partial=partial, choice="move away what is no frame")
        _ = frames.size  # there must be one
        clips.append((folder, frames.files))
        notes += frames.notes
    if others:
        notes.append(f"without images: {_told(others)}")
    return clips, notes


def missing_between(frames: Sequence[Path]) -> list[tuple[Path, Path, int]]:
    """Neighbours whose numbers are further apart than usual: both files, and how many are missing between them.

    Numbers count in steps of the greatest common divisor of the differences between neighbours; uneven ones that are
    all far apart are times. Names that differ in more than one number begin a new sequence.
    """
    steps: dict[tuple[object, ...], list[tuple[int, Path, Path]]] = {}
    for first, second in itertools.pairwise(frames):
        a, b = (re.split(r"([0-9]+)", file.stem.casefold()) for file in (first, second))
        changed = [index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y]
        if len(a) == len(b) and len(changed) == 1 and changed[0] % 2:
            kind = (changed[0], *a[::2])
            steps.setdefault(kind, []).append((int(b[changed[0]]) - int(a[changed[0]]), first, second))
    found = []
    for entries in steps.values():
        step = math.gcd(*(difference for difference, _, _ in entries))
        nearest = min(difference for difference, _, _ in entries)
        if step > 0 and (step == nearest or nearest < TIMES):
            found += [(a, b, difference // step - 1) for difference, a, b in entries if difference > step]
    return found


def told_gaps(folder: Path, frames: Sequence[Path]) -> str:
    """What `missing_between` finds, in words; "" where nothing is missing."""
    gaps = missing_between(frames)
    if not gaps:
        return ""
    first, second, _ = gaps[0]
    missing = sum(count for _, _, count in gaps)
    return f"{folder}: {counted(missing, 'frame', 'are')} missing, first between {first.name} and {second.name}"


def _entries(folder: Path) -> list[str]:
    """Names in the folder, without hidden ones."""
    try:
        return [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {reason(error)}") from error


def _refuse_doubles(folder: Path, frames: list[Path], choice: str) -> None:
    """A frame in two formats, or under two spellings of its number, would be paired with itself."""
    seen: dict[tuple[str, ...], Path] = {}
    for file in frames:
        parts = re.split(r"([0-9]+)", file.stem)
        key = tuple(part.lstrip("0") if index % 2 else part for index, part in enumerate(parts))
        other = seen.setdefault(key, file)
        if other is not file:
            raise InputError(
                f"{folder} holds one frame twice, {other.name} and {file.name}: {choice} (such as '*{file.suffix}'), "
                "or move one away"
            )


def _told(files: list[Path]) -> str:
    """ "5 entries (a.txt, b.txt, c.txt, ...)"."""
    names = ", ".join(file.name for file in files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
    return f"{len(files)} {'entry' if len(files) == 1 else 'entries'} ({names})"
