"""Lists of clips as Vimeo-90K has them: one name a line."""

from pathlib import Path

from flowzoo.errors import InputError
from flowzoo.files.reading import shown, text_of

LARGEST = 2**24
"""Bytes; the longest official list has 0.7 million."""


def listed_clips(path: Path, layout: str) -> list[str]:
    """The names in a list of clips such as 00001/0266.

    Args:
        path: the list.
        layout: of the data set, for messages.

    Raises:
        InputError: it cannot be read, is no such list, or names a clip twice.
    """
    try:
        text = text_of(path, "a list of clips", LARGEST)
    except InputError as error:
        raise InputError(f"{error}; expected {layout}") from error
    names: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not (name := line.strip()):
            continue
        parts = name.split("/")
        if len(parts) != 2 or not all(part.isalnum() for part in parts):
            raise InputError(f"{path} line {number} is {shown(name)!r}: expected a clip such as 00001/0266")
        if name in names:
            raise InputError(f"{path} line {number} names {name} a second time, after line {names[name]}: drop one")
        names[name] = number
    return list(names)
