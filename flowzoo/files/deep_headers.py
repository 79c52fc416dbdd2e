"""Bits a channel of files of which Pillow shows 8 whatever they hold: JPEG 2000 and AVIF, from their headers.

JPEG 2000: ISO/IEC 15444-1, boxes of annex I and SIZ marker of annex A.5.1. AVIF: av1C box of AV1-ISOBMFF, 2.3.3.
"""

import struct
from typing import BinaryIO

_SIZ = b"\xff\x4f\xff\x51"
"""How a JPEG 2000 codestream starts."""
_COMPONENTS = 40
"""Bytes from there to the number of components; three bytes of each follow."""
_MOST_BOXES = 100
_START = 1 << 16
"""Bytes of an AVIF in which its properties stand; the pixels come behind them."""
_HIGH, _TWELVE = 0x40, 0x20


def jpeg2000_bits(file: BinaryIO) -> int:
    """Of the deepest component.

    Raises:
        struct.error: the file ends within its header.
        ValueError: it has no codestream.
    """
    start = _codestream(file)
    file.seek(start + _COMPONENTS)
    (count,) = struct.unpack(">H", file.read(2))
    sizes = file.read(3 * count)[::3]
    return max((size & 0x7F) + 1 for size in sizes)


def _codestream(file: BinaryIO) -> int:
    """Where it begins: at once, or in a box of its own."""
    place = 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        head = file.read(20)
        if head.startswith(_SIZ):
            return place
        length, kind = struct.unpack(">I4s", head[:8])
        inside = 16 if length == 1 else 8
        if kind == b"jp2c":
            return place + inside
        place += struct.unpack(">Q", head[8:16])[0] if length == 1 else length
        if length == 0:
            break
    raise ValueError("no codestream")


def avif_bits(file: BinaryIO) -> int:
    """Of the deepest picture in the file; 8 where it does not say."""
    file.seek(0)
    deepest = 8
    for properties in file.read(_START).split(b"av1C")[1:]:
        if len(properties) > 2 and properties[2] & _HIGH:
            deepest = max(deepest, 12 if properties[2] & _TWELVE else 10)
    return deepest
