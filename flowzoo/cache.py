"""What can be fetched or made again, kept on disk: downloaded weights and compiled kernels. No torch.

A file counts only together with the record beside it, which holds its size and SHA-256 and is written last: what a
killed process, a full disk or a flipped bit has left is never taken for a file. Processes lock a folder before they
write into it.
"""

import contextlib
import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowzoo.errors import InputError

_LOCK = ".lock"
_LOG = logging.getLogger("flowzoo")


def cache_folder() -> Path:
    """`$FLOWZOO_CACHE`, else `$XDG_CACHE_HOME/flowzoo`, else `~/.cache/flowzoo`.

    Raises:
        InputError: none of these is set and the user has no home.
    """
    if chosen := os.environ.get("FLOWZOO_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "flowzoo"
    try:
        return Path.home() / ".cache" / "flowzoo"
    except RuntimeError as error:
        raise InputError(
            "this user has no home folder to keep files in: set FLOWZOO_CACHE to a folder that can be written"
        ) from error


@dataclass(frozen=True)
class Kept:
    """A file of the cache with its record.

    Attributes:
        path: the file.
        record: a small JSON file in the same folder.
    """

    path: Path
    record: Path

    def recorded(self) -> dict[str, Any] | None:
        """What was noted when the file was complete: "bytes", "sha256" and more; None if it never was."""
        try:
            found = json.loads(self.record.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        complete = isinstance(found, dict) and isinstance(found.get("sha256"), str) and self.path.is_file()
        return found if complete else None

    def intact(self) -> bool:
        """Whether the file is complete and what it was when it was recorded."""
        found = self.recorded()
        return found is not None and found["sha256"] == sha256_of(self.path)

    @contextlib.contextmanager
    def replacing(self, **facts: Any) -> Iterator[Path]:
        """Yield a path to write the new file to; when the block ends well it takes the place of `path`.

        The temporary folder it is in can be entered by this user alone. The record gets `facts` besides size and hash.

        Raises:
            InputError: the folder cannot be made or written.
        """
        folder = self.path.parent
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        try:
            new = work / self.path.name
            yield new
            with _writing(folder):
                facts |= {"bytes": new.stat().st_size, "sha256": sha256_of(new)}
                note = work / self.record.name
                note.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
                # In this order nothing in between is a file with the record of another one.
                self.record.unlink(missing_ok=True)
                os.replace(new, self.path)
                os.replace(note, self.record)
        finally:
            _remove(work)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes have left in `folder`, whose lock must be held."""
    for leftover in folder.glob(".partial-*"):
        _remove(leftover)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, 64 digits.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone; it is made if need be.

    Where the system has no file locks, complete files are still never mixed: they are renamed into place.

    Raises:
        InputError: the folder cannot be made or written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Never through a link, and never waiting for a pipe, which another user may have put there.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        handle = os.open(folder / _LOCK, flags, 0o666)
    try:
        try:
            import fcntl
        except ImportError:
            yield
            return
        with _writing(folder):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def private_folders(name: str) -> Iterator[Path]:
    """Folders for files that will be executed: only this user, or root, can have put them there.

    The first is `name` in the cache, the second in `flowzoo-UID` of the folder for temporary files. One is left out,
    and the log says why, where it cannot be made, or where another user owns it, or a folder above it, or may write
    there.
    """
    for base in (cache_folder, _temporary_cache):
        try:
            yield _made_private(base() / name)
        except (InputError, OSError) as error:
            _LOG.info("no compiled kernels are kept there: %s", error)


def only_ours(path: Path) -> bool:
    """Whether `path` is an ordinary file under one name, no link, that only this user or root owns and may write."""
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and _safe(found)


def _temporary_cache() -> Path:
    return Path(tempfile.gettempdir()) / f"flowzoo-{os.getuid()}"


def _made_private(folder: Path) -> Path:
    """`folder` with its links followed, made if need be, after a look at it and at all above it."""
    for missing in reversed([place for place in folder.parents if not place.exists()]):
        missing.mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder = folder.resolve(strict=True)
    for place in (folder, *folder.parents):
        found = place.stat()
        # In a sticky folder such as /tmp, others can neither rename nor delete what is ours.
        sticky = place != folder and found.st_mode & stat.S_ISVTX and _ours(found)
        if not _safe(found) and not sticky:
            raise InputError(f"{place} is owned, or may be written, by another user")
    return folder


def _ours(found: os.stat_result) -> bool:
    return found.st_uid in (os.geteuid(), 0)


def _safe(found: os.stat_result) -> bool:
    """Whether only this user or root can change what was looked at."""
    shared = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _own_group(found.st_gid))
    return _ours(found) and not shared


def _own_group(number: int) -> bool:
    """Whether a group is this user's own one, as many systems make for every user, with nobody else in it."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return number == user.pw_gid and group.gr_name == user.pw_name and not set(group.gr_mem) - {user.pw_name}


def _remove(folder: Path) -> None:
    """Delete a temporary folder, of one level, without following links."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write the cache {folder}: {error.strerror or error}; "
            "set FLOWZOO_CACHE to a folder that can be written"
        ) from error
