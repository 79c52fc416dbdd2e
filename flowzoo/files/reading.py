"""Opening the user's files for reading, with one clear line where that fails."""

import logging
import lzma
import os
import stat
import struct
import threading
import tokenize
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flowzoo.errors import InputError

DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError, MemoryError),
    *(OSError, RuntimeError, StopIteration, SyntaxError, SystemError, TypeError, ValueError, Warning),
    *(lzma.LZMAError, struct.error, tokenize.TokenError, zlib.error),
)
"""What decoders, which were written for whole files, raise for damaged ones."""
_LONGEST_REASON = 200


def reason(error: BaseException) -> str:
    """Why something failed, as one short line without a full stop."""
    text = str(getattr(error, "strerror", None) or error).strip()
    return shown(text.splitlines()[0], _LONGEST_REASON).rstrip(".") if text else type(error).__name__


def shown(text: str, longest: int = 60) -> str:
    """Text that comes from a file, for a message: what a terminal could take for a command replaced, and cut."""
    text = text[: longest + 1]
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= longest else text[: longest - 3] + "..."


class _Quiet:
    """Silence for warnings and the decoders' logs while any thread decodes; Python's own tool mixes up threads."""

    LOGS = "PIL", "tifffile"

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.levels: dict[str, int] = {}
        self.saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.saved = warnings.catch_warnings()
                self.saved.__enter__()
                warnings.simplefilter("ignore")
                self.levels = {name: logging.getLogger(name).level for name in self.LOGS}
                for name in self.LOGS:
                    logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.saved.__exit__(None, None, None)
                for name, level in self.levels.items():
                    logging.getLogger(name).setLevel(level)


_QUIET = _Quiet()


def quiet() -> _Quiet:
    """A block whose decoders do not write to the screen: what is wrong with a file is told once, by an InputError."""
    return _QUIET


@contextmanager
def decoding(fault: str) -> Iterator[None]:
    """Whatever a decoder raises within the block is one line: `fault`, a colon, and the decoder's reason.

    Warnings are silent.

    Raises:
        InputError: the block failed; its own InputErrors pass unchanged.
    """
    try:
        with quiet():
            yield
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{fault}: {reason(error)}") from error


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """`path` as a Path if it is an ordinary file with something in it.

    Args:
        path: the user's path.
        what: what is expected, with its article: "a flow file", "an image".

    Raises:
        InputError: it is missing, a folder, a pipe or a device, or empty.
    """
    file = Path(path)
    try:
        found = file.stat()
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist: check the path") from error
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise InputError(f"cannot read {file}: {reason(error)}; check the path") from error
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{file} is a folder: give {what}")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{file} is not an ordinary file but a pipe or a device: give {what}")
    if found.st_size == 0:
        raise InputError(f"{file} is empty: give {what}")
    return file


def existing_folder(path: str | os.PathLike[str], what: str) -> Path:
    """`path` as a Path if it is a folder whose entries can be listed.

    Args:
        path: the user's path.
        what: what is expected, with its article: "the folder of KITTI 2015".

    Raises:
        InputError: it is missing, no folder, or not ours to read.
    """
    folder = Path(path)
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except FileNotFoundError as error:
        raise InputError(f"no such folder: {folder}; give {what}") from error
    except NotADirectoryError as error:
        raise InputError(f"{folder} is no folder: give {what}") from error
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {reason(error)}; give {what}") from error
    return folder


@contextmanager
def opened(path: str | os.PathLike[str], what: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open the file at `path`; yields it with its size in bytes.

    Raises:
        InputError: as `existing_file`, or reading fails within the block.
    """
    file = existing_file(path, what)
    try:
        # Without waiting, should a pipe have taken the file's place by now.
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise InputError(f"{file} is not an ordinary file: give {what}")
            yield stream, found.st_size
    except OSError as error:
        raise InputError(f"cannot read {file}: {reason(error)}; it must be {what}, complete") from error


def content_of(path: str | os.PathLike[str], what: str, largest: int) -> bytes:
    """All bytes of a small file.

    Raises:
        InputError: as `existing_file`, it cannot be read, or has more than `largest` bytes.
    """
    with opened(path, what) as (file, size):
        if size > largest:
            raise InputError(f"{path} has {size / 1e6:.0f} MB, more than {what} ever has: check the path")
        return file.read(largest + 1)[:size]


def text_of(path: str | os.PathLike[str], what: str, largest: int) -> str:
    """The text of a small UTF-8 file, without a byte order mark.

    Raises:
        InputError: as `content_of`, or it is no such text.
    """
    try:
        return content_of(path, what, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 (byte {error.start}): give {what}") from error


def shown_start(start: bytes) -> str:
    """The first bytes of a file for a message: `'hello wo'`, or `'\\x1f\\x8b'`."""
    return repr(start[:8])[1:]
