"""A folder that one process has for itself: a second one that wants to write there is told so."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flowzoo.errors import InputError
from flowzoo.files.reading import reason

NAME = ".lock"


@contextmanager
def claimed(folder: str | os.PathLike[str], what: str) -> Iterator[Path]:
    """Make `folder` where it is missing, and hold it for this process until the block ends.

    The operating system holds the lock (on the file `.lock` in the folder), and lets go of it when the process ends, in
    whatever way. Where a file system has no locks, the folder is used without.

    Args:
        folder: whose files only one process may write.
        what: for messages: "training run".

    Raises:
        InputError: another process holds it, or it cannot be made or written.
    """
    place = Path(folder)
    make_folder(place)
    try:
        file = (place / NAME).open("a+b")
    except OSError as error:
        raise InputError(f"cannot write into {place}: {reason(error)}; choose another folder") from error
    with file:
        if not _lock(file):
            file.seek(0)
            holder = file.read(200).decode("utf-8", "replace").strip() or "another process"
            raise InputError(
                f"{place} is in use by another {what} ({holder}): wait for it to end, or choose another folder (-o)"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        file.flush()
        try:
            yield place
        finally:
            file.truncate(0)
            _unlock(file)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        InputError: a file is in the way, or the place is not writable.
    """
    try:
        for place in (folder, *folder.parents):
            if place.is_dir():
                break
            if place.exists():
                raise InputError(f"cannot write into {folder}: {place} is a file, not a folder; choose another place")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {reason(error)}; choose another place") from error


def _lock(file: BinaryIO) -> bool:
    """Whether the file is now this process's; True where there are no locks."""
    if os.name == "nt":  # bytes far behind the end are locked, so that others can read who holds it
        import msvcrt

        try:
            file.seek(1 << 30)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _unlock(file: BinaryIO) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(1 << 30)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]
