"""The zoo's list of weights, `weights/index.toml`. No torch."""

import functools
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flowzoo.assets import asset_path
from flowzoo.errors import InputError
from flowzoo.files.reading import reason, shown, text_of
from flowzoo.settings import suggestion

UNKNOWN = "unknown until first download"
LARGEST = 10_000_000
"""Bytes of an index."""


@dataclass(frozen=True)
class Entry:
    """One file of weights.

    Attributes:
        tag: what `--weights` takes.
        model: name of the network.
        format: of the published file, in words.
        licence: of the weights.
        trained_on: data sets, in the order of training.
        url: where it can be downloaded; or
        file: its name in the package's folder `weights/`; or
        manual: how to get it by hand; or
        not_importable: why the zoo cannot use it.
        sha256: 64 digits, or `UNKNOWN`; then what the first download had is recorded in the cache.
        sha256_prefix: its first digits where the publisher has put them into the file's name.
        bytes: size of the file, 0 if not known.
        non_commercial: whether the licence forbids commercial use.
        settings: of the network that differ from its card.
        published: scores with who measured them: by, split, scores = data set -> metric -> value, and `seen`, the data
            sets of these that the weights were trained on.
        measured: our own scores, with the command.
        notes: what a user should know.
    """

    tag: str
    model: str
    format: str
    licence: str
    trained_on: list[str]
    url: str = ""
    file: str = ""
    manual: str = ""
    not_importable: str = ""
    sha256: str = UNKNOWN
    sha256_prefix: str = ""
    bytes: int = 0
    non_commercial: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    measured: list[dict[str, Any]] = field(default_factory=list)
    notes: str = ""

    def has_content(self, sha256: str) -> bool:
        """Whether a file with this SHA-256 is this entry's, as far as the index knows."""
        if self.sha256 != UNKNOWN:
            return sha256 == self.sha256
        return bool(self.sha256_prefix) and sha256.startswith(self.sha256_prefix)


@dataclass(frozen=True)
class Backbone:
    """The published file of an image network that losses and metrics use; the user fetches it and says where it is.

    Attributes:
        name: "vgg19" or "alexnet".
        url: where it can be downloaded.
        sha256_prefix: first digits of its SHA-256, which its publisher puts into the file's name.
        format, licence, trained_on: as of `Entry`.
        option: how its file is given.
    """

    name: str
    url: str
    sha256_prefix: str
    format: str
    licence: str
    trained_on: list[str]
    option: str


@functools.cache
def backbones() -> dict[str, Backbone]:
    """The image networks by name.

    Raises:
        InputError: the installed index is missing or damaged.
    """
    path = asset_path("weights", "index.toml")
    found = {}
    for row in _tables(path, "backbone"):
        try:
            found[str(row["name"])] = Backbone(**row)
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: an entry [[backbone]] is incomplete or has an unknown field: {error}") from error
    return found


@functools.cache
def entries() -> dict[str, Entry]:
    """All entries by tag, in the order of the index.

    Raises:
        InputError: the installed index is missing or damaged.
    """
    return read_index(asset_path("weights", "index.toml"))


def read_index(path: Path) -> dict[str, Entry]:
    """Entries of one index file by tag.

    Raises:
        InputError: it is no TOML, or an entry is incomplete, unknown in a field, or doubled.
    """
    found: dict[str, Entry] = {}
    known = {entry.name: entry for entry in fields(Entry)}
    for row in _tables(path, "weights"):
        tag = shown(str(row.get("tag", "?")))
        wrong = sorted(set(row) - known.keys())
        if wrong:
            raise InputError(
                f"{path}: weights {tag!r} have an unknown field {shown(wrong[0])!r}: {suggestion(wrong[0], known)}"
            )
        missing = [name for name, entry in known.items() if entry.default is entry.default_factory and name not in row]
        if missing:
            raise InputError(f"{path}: weights {tag!r} are incomplete: they have no {missing[0]}")
        for name, value in row.items():
            if not _fits(name, value):
                raise InputError(f"{path}: weights {tag!r} have a {name} of the wrong kind: {shown(repr(value))}")
        entry = Entry(**row)
        if entry.tag in found:
            raise InputError(f"{path}: two weights have the tag {tag!r}")
        found[entry.tag] = entry
    return found


def _tables(path: Path, kind: str) -> list[dict[str, Any]]:
    """The tables [[kind]] of an index file.

    Raises:
        InputError: it is no TOML, or has something else under this name.
    """
    text = text_of(path, "an index of weights, a .toml file", LARGEST)
    try:
        rows = tomllib.loads(text).get(kind, [])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable as TOML: {reason(error)}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} has no list of tables [[{kind}]]")
    return rows


def _fits(name: str, value: Any) -> bool:
    """Whether a field has a value of its kind; see `Entry`."""
    kind = type(value)
    if name in ("bytes", "non_commercial"):
        return kind is (int if name == "bytes" else bool)
    if name == "settings":
        return kind is dict
    if name == "trained_on":
        return kind is list and all(type(entry) is str for entry in value)
    if name in ("published", "measured"):
        return kind is list and all(
            type(group) is dict and type(group.get("split", "")) is str and _are_scores(group.get("scores"))
            for group in value
        )
    return kind is str


def _are_scores(scores: Any) -> bool:
    """Data set -> metric -> value."""
    return type(scores) is dict and all(type(values) is dict for values in scores.values())


def find(tag: str) -> Entry:
    """The entry of a tag.

    Raises:
        InputError: there is none; the message names the nearest one.
    """
    known = entries()
    if tag not in known:
        raise InputError(f"no weights called {tag!r}: {near(tag)} (flowzoo weights list)")
    return known[tag]


def near(tag: str) -> str:
    """Part of a message: the nearest tag, or what to do."""
    text = suggestion(tag, entries())
    return text if text.startswith("did") else "it is no tag of the index and no file"


def of_model(model: str) -> list[Entry]:
    """Entries of one network."""
    return [entry for entry in entries().values() if entry.model == model]
