"""Which videos an archive has, what their results are called, and which shard each belongs to."""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from flowzoo.errors import InputError
from flowzoo.files.images import list_images, natural_key
from flowzoo.files.reading import existing_file, existing_folder, text_of

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
    | {".ogv", ".mxf", ".vob", ".y4m", ".h264", ".hevc"}
)
"""What a folder's files are taken for videos by."""
LARGEST_LIST = 1 << 30
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class ArchiveVideo:
    """A video of an archive.

    Attributes:
        path: the file.
        key: its path below the archive's folder, with /; the shard hangs on it.
        name: `key` without its suffix: where in the output folder its result lies.
    """

    path: str
    key: str
    name: str


def find_videos(
    paths: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]", pattern: str | None = None
) -> list[ArchiveVideo]:
    """The videos of a folder and all below it, of a glob, of a list file, or those named, in natural order.

    Args:
        paths: a folder, a pattern with * ? [ ], a text file with a path on each line, a video, or several of all.
        pattern: only file names that match it.

    Raises:
        InputError: nothing is there, or a file is missing.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: dict[str, str] = {}
    for one in given:
        found |= _found(os.fspath(one))
    if pattern is not None:
        found = {path: key for path, key in found.items() if fnmatchcase(Path(path).name, pattern)}
    if not found:
        shown = ", ".join(str(one) for one in given[:3])
        raise InputError(f"no videos in {shown}" + (f" that match {pattern}" if pattern else ""))
    if len(given) > 1 or len(set(found.values())) < len(found):
        found = _below_common_folder(found)
    names = _names(list(found.values()))
    videos = [ArchiveVideo(path, key, name) for (path, key), name in zip(found.items(), names, strict=True)]
    return sorted(videos, key=lambda video: natural_key(video.key))


def is_archive(first: str) -> bool:
    """Whether FIRST stands for several videos: a folder with videos and no images, or a pattern that is no file."""
    if os.path.isdir(first):
        return not list_images(first) and next(iter(_in_folder(first)), None) is not None
    return glob.has_magic(first) and not os.path.exists(first)


def in_shard(video: ArchiveVideo, index: int, count: int) -> bool:
    """Whether shard `index` of `count` has this video; shards count from 0 or from 1 (N is 0)."""
    digest = hashlib.sha256(video.key.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % count == index % count


def parse_shard(text: str) -> tuple[int, int]:
    """Index and count of "3/8".

    Raises:
        InputError: it is not of this form, or the index is not within 0 to N.
    """
    parts = text.split("/")
    if len(parts) == 2 and all(part.isascii() and part.isdecimal() and len(part) < 9 for part in parts):
        index, count = map(int, parts)
        if count >= 1 and index <= count:
            return index, count
    raise InputError(f"--shard is I/N, such as 3/8, with I from 1 to N (or from 0 to N-1), got {text!r}")


def _found(given: str) -> dict[str, str]:
    """Paths and keys of what one word stands for."""
    if os.path.isdir(given):
        existing_folder(given, "a folder of videos")
        return {path: Path(path).relative_to(given).as_posix() for path in _in_folder(given)}
    if glob.has_magic(given) and not os.path.exists(given):
        files = [path for path in glob.glob(given, recursive=True) if os.path.isfile(path)]
        if not files:
            raise InputError(f"nothing matches {given}")
        return _below_common_folder({path: path for path in files})
    if Path(given).suffix.lower() in (".txt", ".lst", ".list"):
        return _listed(Path(given))
    existing_file(given, "a video")
    return {given: Path(given).name}


def _in_folder(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield os.path.join(place, name)


def _listed(path: Path) -> dict[str, str]:
    lines = [line.strip() for line in text_of(path, "a list of videos", LARGEST_LIST).splitlines()]
    files = [line for line in lines if line and not line.startswith("#")]
    if not files:
        raise InputError(f"the list {path} names no video")
    places = [os.path.join(path.parent, os.path.expanduser(name)) for name in files]
    return _below_common_folder({place: place for place in places})


def _below_common_folder(found: dict[str, str]) -> dict[str, str]:
    whole = {path: os.path.abspath(path) for path in found}
    common = os.path.commonpath([os.path.dirname(path) for path in whole.values()])
    return {path: Path(place).relative_to(common).as_posix() for path, place in whole.items()}


def _names(keys: list[str]) -> list[str]:
    """Keys without suffixes; with them where two would be equal but for case."""
    plain = [Path(key).with_suffix("").as_posix() for key in keys]
    counts = Counter(name.casefold() for name in plain)
    return [name if counts[name.casefold()] == 1 else key for name, key in zip(plain, keys, strict=True)]
