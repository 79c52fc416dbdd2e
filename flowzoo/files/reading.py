"""Opening the user's files for reading, with one clear line where that fails."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flowzoo.errors import InputError


def reason(error: Exception) -> str:
    """Why something failed, as one line without a full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0].rstrip(".")


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """`path` as a Path if it is an ordinary file with something in it.

    Args:
        path: the user's path.
        what: what is expected, with its article: "a flow file", "an image".

    Raises:
        InputError: it is missing, a folder, a device, or empty.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise InputError(f"{file} is a folder: give {what}")
        if not file.exists():
            raise InputError(f"{file} does not exist: check the path")
        if not file.is_file():
            raise InputError(f"{file} is not an ordinary file: give {what}")
        if file.stat().st_size == 0:
            raise InputError(f"{file} is empty: give {what}")
    except OSError as error:
        raise InputError(f"cannot read {file}: {reason(error)}; check the path") from error
    return file


@contextmanager
def opened(path: str | os.PathLike[str], what: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open the file at `path`; yields it with its size in bytes.

    Raises:
        InputError: as `existing_file`, or reading fails within the block.
    """
    file = existing_file(path, what)
    try:
        with file.open("rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise InputError(f"cannot read {file}: {reason(error)}; it must be {what}, complete") from error


def shown_start(start: bytes) -> str:
    """The first bytes of a file for a message: `'hello wo'`, or `'\\x1f\\x8b'`."""
    return repr(start[:8])[1:]
