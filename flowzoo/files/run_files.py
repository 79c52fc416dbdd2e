"""What a run reads and what it will write, compared before anything is computed: outputs never replace inputs.

Every command that writes files states them all and checks them before it loads a network:

    files = RunFiles()
    files.reads(*frames, weights)
    for name, path in planned.items():
        files.writes(path, f"the flow of {name}")
    files.check()
"""

import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flowzoo.errors import InputError
from flowzoo.files.reading import reason

LONGEST_NAME = 255
"""Bytes that a file's name may have on every usual file system."""
Key = tuple[object, ...]
"""What two spellings of one file have in common."""


class _Output(NamedTuple):
    path: str
    what: str


class _Folder(NamedTuple):
    """The nearest folder above a file that exists, and what of the path is still to be made below it."""

    path: str
    device: int
    inode: int
    rest: tuple[str, ...]


class RunFiles:
    """All inputs and all outputs of one run.

    Two names are one file where they end in the same folder under names that are equal but for upper and lower case
    (so that a result does not depend on the file system), or where they lead to one file through links.
    """

    def __init__(self) -> None:
        self._inputs: list[str] = []
        self._outputs: list[_Output] = []
        self._folders: dict[str, _Folder] = {}
        self._filled: list[_Output] = []

    def reads(self, *paths: str | os.PathLike[str] | None) -> None:
        """Files that the run reads: images, lists, ground truth, weights; None and names of no file are left out."""
        self._inputs += [os.fspath(path) for path in paths if path is not None]

    def writes(self, path: str | os.PathLike[str], what: str) -> None:
        """A file that the run will write; `what` says to the user what it holds: "the flow of frame_1"."""
        self._outputs.append(_Output(os.fspath(path), what))

    def writes_into(self, folder: str | os.PathLike[str], what: str) -> None:
        """A folder that gets files whose names are not known yet; no input may lie directly in it."""
        self._filled.append(_Output(os.fspath(folder), what))

    def check(self) -> None:
        """Compare everything.

        Raises:
            InputError: an output is an input, two outputs are one file, or a file cannot be written at its place.
        """
        claimed: dict[Key, _Output] = {}
        for output in self._outputs:
            for key in self._output_keys(output):
                other = claimed.setdefault(key, output)
                if other is not output:
                    raise InputError(_one_file(other, output))
        filled = {}
        for output in self._filled:
            place = self._folder(os.path.join(output.path, "x"), output)
            filled[(place.device, place.inode, place.rest)] = output
        if not claimed and not filled:
            return
        files = any(key[0] == "file" for key in claimed)
        for path in self._inputs:
            if self._inside(path, filled):
                raise InputError(f"{path} is an input and lies in the folder for {self._inside(path, filled)}")
            for key in self._input_keys(path, files):
                if key in claimed:
                    raise InputError(_replaced(claimed[key], path))

    def _inside(self, path: str, filled: dict[tuple[int, int, tuple[str, ...]], _Output]) -> str | None:
        if not filled:
            return None
        place = self._place(os.path.dirname(path))
        found = filled.get((place.device, place.inode, place.rest))
        return None if found is None else f"{found.what}, {found.path}: give another folder"

    def _output_keys(self, output: _Output) -> Iterator[Key]:
        """Keys of a file to be written, after a look at its place."""
        place = self._folder(output.path, output)
        yield _entry(place, output.path)
        if place.rest:
            return  # its folder is not there yet, so neither is the file
        try:
            found = os.stat(output.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"cannot write {output.path}: {reason(error)}; choose another place") from error
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"cannot write {output.path}: it is a folder; give a file name")
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"cannot write {output.path}: it is not an ordinary file; give another name")
        yield ("file", found.st_dev, found.st_ino)

    def _input_keys(self, path: str, files: bool) -> Iterator[Key]:
        """Keys of a file that is read; `files`: whether any output is there already, so that links can lead to it."""
        yield _entry(self._place(os.path.dirname(path)), path)
        if os.path.islink(path):
            target = os.path.realpath(path)
            yield _entry(self._place(os.path.dirname(target)), target)
        if files:
            try:
                found = os.stat(path)
            except OSError:
                return  # its reader says what is wrong with it
            yield ("file", found.st_dev, found.st_ino)

    def _folder(self, path: str, output: _Output) -> _Folder:
        """The folder of an output, which can be made and written."""
        place = self._place(os.path.dirname(path))
        if os.path.basename(path) in ("", ".", ".."):
            raise InputError(f"cannot write {output.path}: it is a folder; give a file name")
        for name in (*place.rest, os.path.basename(path)):
            if len(os.fsencode(name)) > LONGEST_NAME:
                raise InputError(f"cannot write {output.path}: a name has {len(name)} letters; give a shorter one")
        nearest = os.path.dirname(path)
        while nearest and not os.path.lexists(nearest):
            nearest = os.path.dirname(nearest)
        if not os.path.isdir(nearest or "."):
            what = "a link that leads nowhere" if os.path.islink(nearest) and not os.path.exists(nearest) else "a file"
            raise InputError(f"cannot write {output.path}: {nearest} is {what}, not a folder; choose another place")
        if not os.access(place.path, os.W_OK | os.X_OK):
            raise InputError(f"cannot write {output.path}: {place.path} is not yours to write; choose another place")
        return place

    def _place(self, folder: str) -> _Folder:
        """Where `folder` is; looked up once."""
        if folder not in self._folders:
            self._folders[folder] = _nearest(os.path.realpath(folder or "."))
        return self._folders[folder]


def _nearest(folder: str) -> _Folder:
    path: str = folder
    rest: tuple[str, ...] = ()
    while True:
        try:
            found = os.stat(path)
        except OSError:
            parent, name = os.path.split(path)
            if parent == path:
                return _Folder(path, 0, 0, rest)
            path, rest = parent, (_plain(name), *rest)
            continue
        return _Folder(path, found.st_dev, found.st_ino, rest)


def _entry(place: _Folder, path: str) -> Key:
    return ("entry", place.device, place.inode, *place.rest, _plain(os.path.basename(path)))


def _plain(name: str) -> str:
    """A name as file systems that know neither case nor ways of composing letters compare it."""
    return name if name.isascii() and name.islower() else unicodedata.normalize("NFC", name).casefold()


def _replaced(output: _Output, path: str) -> str:
    same = "which is an input" if Path(output.path) == Path(path) else f"which is the input {path} by another name"
    return f"{output.what} would go to {output.path}, {same}: give another folder or name"


def _one_file(first: _Output, second: _Output) -> str:
    if Path(first.path) == Path(second.path):
        return f"{first.what} and {second.what} would both be written to {first.path}: give one of them another name"
    return (
        f"{first.what} ({first.path}) and {second.what} ({second.path}) would be one file, where upper and lower case "
        "do not count or through a link: give one of them another name"
    )
