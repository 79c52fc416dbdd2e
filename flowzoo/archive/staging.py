"""Results of an archive's videos: made aside, moved into place in one step, and recorded.

In the output folder `.flowzoo` holds a record a result, and `.flowzoo/partial` what is being made. A result counts when
its record is there and tells of the same video and the same settings: however often a video is computed, by whichever
process, there is one complete result or none.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing
from flowzoo.files.reading import opened, reason

FOLDER = ".flowzoo"
ENDS = 1 << 16
"""Bytes at the start and at the end of a video that tell it from others of its length."""


def fingerprint(path: str) -> str:
    """What tells a video from another one, wherever it lies: its length, its start and its end.

    Raises:
        InputError: it is missing or empty.
    """
    with opened(path, "a video") as (file, size):
        digest = hashlib.sha256(str(size).encode())
        digest.update(file.read(ENDS))
        file.seek(max(0, size - ENDS))
        digest.update(file.read(ENDS))
    return digest.hexdigest()


def record_path(out: Path, name: str) -> Path:
    """Where the record of a result is."""
    return out / FOLDER / "records" / f"{name}.json"


def read_record(out: Path, name: str) -> dict[str, Any] | None:
    """The record of a result; None where there is none that can be read."""
    try:
        record = json.loads(record_path(out, name).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def write_record(out: Path, name: str, record: dict[str, Any]) -> None:
    """Write it, complete or not at all.

    Raises:
        InputError: it cannot be written.
    """
    with replacing(record_path(out, name)) as temporary:
        temporary.write_text(json.dumps(record, sort_keys=True) + "\n", "utf-8")


@contextmanager
def staged(target: Path, out: Path) -> Iterator[Path]:
    """A path aside for a file or a folder, on the same file system; moved to `target` when the block ends well.

    Raises:
        InputError: it cannot be written.
    """
    partial = out / FOLDER / "partial"
    place = partial / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(6)}"
    try:
        place.mkdir(parents=True)
        made = place / target.name
        yield made
        target.parent.mkdir(parents=True, exist_ok=True)
        _put(made, target, place / "before")
    except OSError as error:
        raise InputError(f"cannot write {target}: {reason(error)}; choose another place or free some space") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _put(made: Path, target: Path, aside: Path) -> None:
    """Move what was made to `target`; a folder that is there goes aside, and comes back where that fails."""
    if not target.is_dir():
        os.replace(made, target)
        return
    os.rename(target, aside)  # a folder cannot take the place of another in one step
    try:
        os.replace(made, target)
    except OSError:
        os.rename(aside, target)
        raise


def sweep(out: Path) -> None:
    """Remove what processes of this machine that are no more left half-made."""
    partial = out / FOLDER / "partial"
    if not partial.is_dir():
        return
    for place in partial.iterdir():
        host, _, rest = place.name.rpartition("-")[0].rpartition("-")
        if host == socket.gethostname() and rest.isdecimal() and not _alive(int(rest)):
            shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):
        partial.rmdir()


def _alive(process: int) -> bool:
    if os.name == "nt":
        return True  # asking there would end the process
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
