r"""Lists of pairs: text files with FIRST SECOND, or FIRST SECOND FLOW, on every line. The one reader of all commands.

Names are separated by tabs, commas or blanks. Where names have blanks in them, use tabs or commas, or quote the names
("my frames/1.png" or 'my frames/1.png', a quote within doubled), or write a backslash before each blank. Empty lines
and what follows a # at the start of a word are left out. Names start at the list's folder, or are absolute; ~ is the
home folder; where there is no file of that very name, a\b is taken for a/b. Text is UTF-8, or UTF-16 or UTF-32 with a
byte order mark; other bytes stand for themselves, as in names of files.
"""

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flowzoo.errors import InputError
from flowzoo.files.atomic import replacing
from flowzoo.files.reading import existing_file, reason

STANDARD_INPUT = "-"
LARGEST = 1 << 28
"""Bytes that a list may have; a longer file is no list."""
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like the mark of UTF-16, so it comes first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
QUOTES = "\"'"
BLANKS = " \t"


@dataclass(frozen=True)
class ListedPair:
    """A line of a list: its number from 1, image files, the flow file or None, and the names as they are written."""

    line: int
    first: Path
    second: Path
    flow: Path | None
    names: tuple[str, ...]


def read_pair_list(path: str | os.PathLike[str]) -> list[ListedPair]:
    """The pairs of the list at `path`, in order; "-" is standard input, whose names start at the current folder.

    Raises:
        InputError: the list is missing, no ordinary file, no text, empty, or a line has another number of names.
    """
    source = os.fspath(path)
    folder = Path() if source == STANDARD_INPUT else Path(source).parent
    title = "the list on standard input" if source == STANDARD_INPUT else f"the list {source}"
    pairs = []
    for number, line in enumerate(_lines(_decoded(_content(source), title)), 1):
        names = _names(line, folder)
        if not names:
            continue
        if not 2 <= len(names) <= 3:
            raise InputError(
                f"{title}, line {number}: expected two or three names (FIRST SECOND, perhaps FLOW), found {len(names)}"
                "; put tabs between names that have blanks, or quote them"
            )
        first, second, *flow = (resolved(folder, name) for name in names)
        pairs.append(ListedPair(number, first, second, flow[0] if flow else None, tuple(names)))
    if not pairs:
        raise InputError(f"{title} has no pairs: write the names of two images on each line")
    return pairs


def write_pair_list(path: str | os.PathLike[str], rows: Iterable[Iterable[str | os.PathLike[str]]]) -> None:
    """Write a list that `read_pair_list` gives back, complete or not at all; tabs between names.

    Raises:
        InputError: a name holds a line break, or the list cannot be written.
    """
    lines = ["\t".join(_quoted(os.fspath(name)) for name in row) + "\n" for row in rows]
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", errors="surrogateescape", newline="\n")


def resolved(folder: Path, name: str) -> Path:
    """The file that a `name` in a list in `folder` means."""
    path = folder / name
    spellings = []
    if name.startswith("~"):
        spellings.append(folder / os.path.expanduser(name))
    if "\\" in name and os.sep != "\\":
        spellings.append(folder / name.replace("\\", "/"))
    if not spellings or os.path.lexists(path):
        return path
    return next((other for other in spellings if os.path.lexists(other)), spellings[0])


def _content(source: str) -> bytes:
    if source == STANDARD_INPUT:
        content = sys.stdin.buffer.read(LARGEST + 1)
        size = len(content)
    else:
        file = existing_file(source, "a text file with the names of two images on each line")
        try:
            size = file.stat().st_size
            content = file.read_bytes() if size <= LARGEST else b""
        except OSError as error:
            raise InputError(f"cannot read the list {file}: {reason(error)}") from error
    if size > LARGEST:
        raise InputError(f"{source} has more than {LARGEST >> 20} MB: it is no list of pairs")
    return content


def _decoded(content: bytes, title: str) -> str:
    for mark, encoding in MARKS:
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
            except UnicodeDecodeError as error:
                raise InputError(f"{title} is damaged: {error.reason} for {encoding}; save it as UTF-8") from error
    if b"\0" in content:
        raise InputError(f"{title} is no text file: it holds zero bytes; save it as UTF-8")
    return content.decode("utf-8", "surrogateescape")


def _lines(text: str) -> Iterator[str]:
    """Lines by the line ends of Unix, Windows and old Macs alone; a file's name may hold Unicode's others."""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        yield line.removeprefix("\ufeff").strip(BLANKS)


def _names(line: str, folder: Path) -> list[str]:
    """The names of a line, by the separator that gives two or three; of several the one whose files are there."""
    if not any(letter in line for letter in "\t,#\\\"'"):
        return [name for name in line.split(" ") if name]
    # A comment may follow a name that has blanks itself, and such a name may have " #" in it.
    comment = re.search(r"[ \t]#", line)
    variants = [line] if comment is None else [line, line[: comment.start()]]
    splits = [_split(text, separator) for text in variants for separator in ("\t", ",", "")]
    found = [names for names in splits if 2 <= len(names) <= 3]
    if not found:
        return splits[-1]
    if all(names == found[0] for names in found):
        return found[0]
    there = (names for names in found if all(os.path.exists(resolved(folder, name)) for name in names[:2]))
    return next(there, found[0])


def _split(line: str, separator: str) -> list[str]:
    """The names of a line between tabs, commas, or (where `separator` is empty) blanks."""
    names, place = [], 0
    while place < len(line):
        if line[place] in BLANKS or line[place] == separator:
            place += 1
            continue
        if line[place] == "#":
            break
        name, place = _quoted_name(line, place, separator) or _bare_name(line, place, separator)
        names.append(name)
    return names


def _quoted_name(line: str, place: int, separator: str) -> tuple[str, int] | None:
    """A name in quotes that begins at `place` and the place after it; None where the quote is part of a name."""
    quote = line[place]
    if quote not in QUOTES:
        return None
    end = place + 1
    while (end := line.find(quote, end)) >= 0:
        if line[end + 1 : end + 2] == quote:
            end += 2
            continue
        after = line[end + 1 :].lstrip({",": BLANKS, "\t": " "}.get(separator, ""))
        if after[:1] not in ("", separator or " ", "\t"):
            return None
        return line[place + 1 : end].replace(quote * 2, quote), end + 1
    return None


def _bare_name(line: str, place: int, separator: str) -> tuple[str, int]:
    if separator:
        end = line.find(separator, place)
        end = len(line) if end < 0 else end
        return line[place:end].rstrip(BLANKS), end
    letters = []
    while place < len(line) and line[place] not in BLANKS:
        if line[place] == "\\" and line[place + 1 : place + 2] == " ":
            place += 1  # an escaped blank
        letters.append(line[place])
        place += 1
    return "".join(letters), place


def _quoted(name: str) -> str:
    if "\n" in name or "\r" in name:
        raise InputError(f"{name!r} cannot stand in a list: its name holds a line break; rename it")
    if name.strip(BLANKS) == name and "\t" not in name and name[:1] not in (*QUOTES, "#", "\ufeff", ""):
        return name
    return '"' + name.replace('"', '""') + '"'
