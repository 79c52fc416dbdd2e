"""Fetching files of the index into the cache: once, checked by SHA-256, complete or not at all. No torch."""

import contextlib
import hashlib
import json
import logging
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from flowzoo.assets import asset_path
from flowzoo.checkpoints.index import UNKNOWN, Entry
from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing

_CHUNK = 2**20
_SECONDS_WITHOUT_DATA = 60
_RECORD = "content.json"

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$FLOWZOO_CACHE, else $XDG_CACHE_HOME/flowzoo, else ~/.cache/flowzoo."""
    own = os.environ.get("FLOWZOO_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowzoo"


def cached_path(entry: Entry) -> Path:
    """Where the file of an entry with a URL is kept."""
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(entry.url).path)).name or "weights"
    return cache_folder() / "weights" / entry.tag / name


def obtain(entry: Entry) -> Path:
    """The file of an entry, downloaded if it is not in the cache yet; the licence is shown before.

    Raises:
        InputError: it must be fetched by hand, cannot be downloaded or written, or its SHA-256 is wrong.
    """
    if entry.not_importable:
        raise InputError(f"weights {entry.tag} cannot be used here: {entry.not_importable}")
    if entry.file:
        return asset_path("weights", entry.file)
    if not entry.url:
        raise InputError(
            f"weights {entry.tag} must be fetched by hand: {entry.manual}; then flowzoo weights import FILE "
            f"--model {entry.model} -o OUT.safetensors, and give that file"
        )
    path = cached_path(entry)
    if path.is_file() and _recorded(path) is not None:
        _check(path, entry)
        return path
    with _locked(path.parent):
        if path.is_file() and _recorded(path) is not None:  # another process was faster
            _check(path, entry)
            return path
        _fetch(entry, path)
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, 64 digits.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _recorded(path: Path) -> str | None:
    """SHA-256 that the download of `path` had, or None if it was not finished."""
    try:
        digest: str | None = json.loads((path.parent / _RECORD).read_text())["sha256"]
        return digest
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check(path: Path, entry: Entry) -> None:
    found, recorded = sha256_of(path), _recorded(path)
    if found != recorded:
        raise InputError(
            f"{path} has changed since it was downloaded (SHA-256 {found[:12]}..., was {recorded}): delete it"
        )
    _compare(found, entry, f"the cached file {path} of weights {entry.tag}", "delete it and try again")


def _compare(found: str, entry: Entry, what: str, remedy: str) -> None:
    wanted = entry.sha256 if entry.sha256 != UNKNOWN else entry.sha256_prefix
    if wanted and not found.startswith(wanted):
        raise InputError(f"{what} has the wrong SHA-256: {found[:16]}... instead of {wanted[:16]}...; {remedy}")


def _fetch(entry: Entry, path: Path) -> None:
    size = f", {entry.bytes / 1e6:.1f} MB" if entry.bytes else ""
    terms = "non-commercial use only" if entry.non_commercial else "see its terms"
    log.warning("weights %s come under this licence: %s (%s)", entry.tag, entry.licence, terms)
    log.warning("downloading %s%s", entry.url, size)
    for leftover in path.parent.glob(".*.partial*"):  # of an interrupted run; the lock is ours
        leftover.unlink(missing_ok=True)
    (path.parent / _RECORD).unlink(missing_ok=True)
    with replacing(path) as temporary:
        found = _copy(entry, temporary)
        _compare(found, entry, f"what {entry.url} sends", "the file there has changed, or something is in between")
        if entry.bytes and temporary.stat().st_size != entry.bytes:
            raise InputError(f"{entry.url} sent {temporary.stat().st_size} bytes instead of {entry.bytes}: try again")
    record = {"bytes": path.stat().st_size, "sha256": found, "url": entry.url}
    with replacing(path.parent / _RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def _copy(entry: Entry, target: Path) -> str:
    """Download to `target`; returns the SHA-256."""
    remedy = f"check the network, or fetch it elsewhere and use flowzoo weights import FILE --model {entry.model}"
    request = urllib.request.Request(entry.url, headers={"User-Agent": "flowzoo"})
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS_WITHOUT_DATA) as answer:
            expected = int(answer.headers.get("Content-Length") or 0)
            done = _write(answer, target, digest, expected)
    except urllib.error.HTTPError as error:
        raise InputError(
            f"cannot download {entry.url}: the server says {error.code} {error.reason}; {remedy}"
        ) from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"cannot download {entry.url}: {reason}; {remedy}") from error
    if expected and done != expected:
        raise InputError(f"cannot download {entry.url}: it ended after {done} of {expected} bytes; {remedy}")
    return digest.hexdigest()


def _write(answer: BinaryIO, target: Path, digest: "hashlib._Hash", expected: int) -> int:
    done = 0
    bar = tqdm(total=expected or None, unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False)
    with bar, target.open("wb") as file:
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            bar.update(len(chunk))
    return done


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; where the system has no file locks, a rename alone keeps files complete.

    Raises:
        InputError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise InputError(
            f"cannot write the cache {folder}: {error.strerror}; set FLOWZOO_CACHE to a folder that can be written"
        ) from error
    with file:
        try:
            import fcntl
        except ImportError:
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
