"""What kind of numbers a TIFF file holds, for files whose kind Pillow does not know.

Tags of TIFF 6.0 (1992): BitsPerSample = 258, SamplesPerPixel = 277, SampleFormat = 339 (3: floating point).
"""

import struct
from typing import BinaryIO

_BITS, _SAMPLES, _FORMAT = 258, 277, 339
_SHORT, _LONG = 3, 4
_MOST_TAGS = 1000
_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex floating-point"}


def tiff_values(file: BinaryIO) -> str:
    """The kind of a TIFF's values in words, such as "floating-point values (32 bits, 3 channels)"; "" if it is none.

    Raises:
        struct.error: the file ends within its header.
    """
    found = _tags(file)
    if _BITS not in found:
        return ""
    kind_of_numbers = _KINDS.get(found.get(_FORMAT, 1), "unknown")
    channels = found.get(_SAMPLES, 1)
    return f"{kind_of_numbers} values ({found[_BITS]} bits, {channels} channel{'s' if channels != 1 else ''})"


def tiff_bits(file: BinaryIO) -> int:
    """Bits a channel of a TIFF; 8 where it does not say.

    Raises:
        struct.error: the file ends within its header.
    """
    return _tags(file).get(_BITS, 8)


def _tags(file: BinaryIO) -> dict[int, int]:
    """The first values of the tags above; empty if it is no TIFF."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        return {}
    (version,) = struct.unpack(order + "H", head[2:4])
    if version not in (42, 43):
        return {}
    big = version == 43
    (place,) = struct.unpack(order + "Q", head[8:16]) if big else struct.unpack(order + "I", head[4:8])
    file.seek(place)
    counter, entry, width = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    (count,) = struct.unpack(order + counter, file.read(struct.calcsize(order + counter)))
    found: dict[int, int] = {}
    for _ in range(min(count, _MOST_TAGS)):
        tag, kind, values = struct.unpack(order + entry, file.read(struct.calcsize(order + entry)))
        content = file.read(width)
        if tag in (_BITS, _SAMPLES, _FORMAT) and kind in (_SHORT, _LONG) and values:
            found[tag] = _first(file, order, kind, values, content)
    return found


def _first(file: BinaryIO, order: str, kind: int, values: int, content: bytes) -> int:
    """The first value of a tag: in its entry, or where that points to."""
    letter, size = ("H", 2) if kind == _SHORT else ("I", 4)
    if values * size > len(content):
        here = file.tell()
        file.seek(struct.unpack(order + ("Q" if len(content) == 8 else "I"), content)[0])
        content = file.read(size)
        file.seek(here)
    number: int = struct.unpack(order + letter, content[:size])[0]
    return number
