"""Fetching files of the index into the cache: once, complete or not at all, and only what they should be.

No torch, until a file has come whose SHA-256 is not known: then it must fill its network before it is kept.
"""

import logging
import os
import urllib.parse
from pathlib import Path

from flowzoo.assets import asset_path
from flowzoo.cache import Kept, cache_folder, locked, remove_leftovers, sha256_of
from flowzoo.checkpoints.index import UNKNOWN, Entry
from flowzoo.checkpoints.transfer import TransferError, transfer
from flowzoo.checkpoints.unfinished import Unfinished
from flowzoo.errors import InputError

RECORD = "content.json"
"""The file beside a download that says what it should be."""

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
    kept = Kept(path, path.parent / RECORD)
    if kept.recorded() is None:
        with locked(path.parent):
            if kept.recorded() is None:  # no other process was faster
                remove_leftovers(path.parent)
                _fetch(entry, kept)
    _check(kept, entry)
    return path


def offline() -> bool:
    """Whether FLOWZOO_OFFLINE forbids downloads."""
    return os.environ.get("FLOWZOO_OFFLINE", "0").lower() not in ("", "0", "false", "no", "off")


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
    remedy = f"check the network, or fetch it elsewhere and use flowzoo weights import FILE --model {entry.model}"
    if offline():
        raise InputError(
            f"weights {entry.tag} are not in the cache, and FLOWZOO_OFFLINE forbids to download {entry.url}: unset it, "
            f"or fetch the file elsewhere and use flowzoo weights import FILE --model {entry.model}"
        )
    size = f", {entry.bytes / 1e6:.1f} MB" if entry.bytes else ""
    terms = "non-commercial use only" if entry.non_commercial else "see its terms"
    log.warning("weights %s come under this licence: %s (%s)", entry.tag, entry.licence, terms)
    log.warning("downloading %s%s", entry.url, size)
    with kept.replacing(url=entry.url) as temporary:
        try:
            unfinished = Unfinished(kept.path.with_name(f".unfinished-{kept.path.name}"), entry.url)
            transfer(entry.url, temporary, entry.bytes, unfinished)
        except TransferError as error:
            raise InputError(f"cannot download {entry.url}: {error}; {remedy}") from error
        there = "the file there has changed, or something is in between; " + remedy.partition(", or ")[2]
        # What it is comes first: a login page says more than a wrong hash does.
        if entry.sha256 == UNKNOWN or sha256_of(temporary) != entry.sha256:
            _require_weights(entry, temporary, there)
        _compare(sha256_of(temporary), entry, f"what {entry.url} sends", there)


def _require_weights(entry: Entry, path: Path, remedy: str) -> None:
    """Check that the file at `path` fills the network of the entry.

    Raises:
        InputError: it does not.
    """
    from flowzoo.checkpoints.fitting import recorded_settings, state_for
    from flowzoo.checkpoints.formats import read_checkpoint

    try:
        checkpoint = read_checkpoint(path)
        state_for(entry.model, checkpoint, "it", entry.settings | recorded_settings(checkpoint))
    except InputError as error:
        text = str(error).replace(str(path), "it")
        raise InputError(f"what {entry.url} sends is not kept: {text}; {remedy}") from error
