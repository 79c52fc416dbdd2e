"""Fetching files of the index into the cache: once, checked by SHA-256, complete or not at all. No torch."""

import hashlib
import logging
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from flowzoo.assets import asset_path
from flowzoo.cache import Kept, cache_folder, locked, remove_leftovers, sha256_of
from flowzoo.checkpoints.index import UNKNOWN, Entry
from flowzoo.errors import InputError

_CHUNK = 2**20
_SECONDS_WITHOUT_DATA = 60
_RECORD = "content.json"

log = logging.getLogger(__name__)


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
    kept = Kept(path, path.parent / _RECORD)
    if kept.recorded() is None:
        with locked(path.parent):
            if kept.recorded() is None:  # no other process was faster
                remove_leftovers(path.parent)
                _fetch(entry, kept)
    _check(kept, entry)
    return path


def _check(kept: Kept, entry: Entry) -> None:
    recorded = (kept.recorded() or {}).get("sha256", "unknown")
    found = sha256_of(kept.path)
    if found != recorded:
        raise InputError(
            f"{kept.path} has changed since it was downloaded (SHA-256 {found[:12]}..., was {recorded}): delete it"
        )
    _compare(found, entry, f"the cached file {kept.path} of weights {entry.tag}", "delete it and try again")


def _compare(found: str, entry: Entry, what: str, remedy: str) -> None:
    wanted = entry.sha256 if entry.sha256 != UNKNOWN else entry.sha256_prefix
    if wanted and not found.startswith(wanted):
        raise InputError(f"{what} has the wrong SHA-256: {found[:16]}... instead of {wanted[:16]}...; {remedy}")


def _fetch(entry: Entry, kept: Kept) -> None:
    size = f", {entry.bytes / 1e6:.1f} MB" if entry.bytes else ""
    terms = "non-commercial use only" if entry.non_commercial else "see its terms"
    log.warning("weights %s come under this licence: %s (%s)", entry.tag, entry.licence, terms)
    log.warning("downloading %s%s", entry.url, size)
    with kept.replacing(url=entry.url) as temporary:
        found = _copy(entry, temporary)
        _compare(found, entry, f"what {entry.url} sends", "the file there has changed, or something is in between")
        if entry.bytes and temporary.stat().st_size != entry.bytes:
            raise InputError(f"{entry.url} sent {temporary.stat().st_size} bytes instead of {entry.bytes}: try again")


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
