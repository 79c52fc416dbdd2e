"""Whether a video file is whole: decoders take one that was cut off for a shorter video, its container often tells.

Each function looks at the bytes of one container format and says what is missing, or None.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

HEADER = 1 << 16
"""Bytes at the start of a file that hold what is looked for."""
UNKNOWN_SIZES = (0, 0xFFFFFFFF)
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""GUID of the object that holds an ASF (.wmv) file's size (Advanced Systems Format specification, section 3.2)."""
MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
OGG_LAST_PAGE = 4
PACK, PROGRAM_END = b"\0\0\1\xba", b"\0\0\1\xb9"


def what_is_missing(path: Path, container: str) -> str | None:
    """What says that the file ends too early, in words for a message; None where nothing does.

    Args:
        path: the file.
        container: FFmpeg's name of its format.
    """
    look = LOOKS.get(container)
    if look is None:
        return None
    with path.open("rb") as file:
        return look(file, path.stat().st_size)


def riff(file: BinaryIO, size: int) -> str | None:
    """AVI: chunks RIFF, each with its size, one after the other (OpenDML has several of them)."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF":
            break  # something was appended
        if length in UNKNOWN_SIZES:
            return "its writer was stopped before it had finished"
        place += 8 + length + length % 2
    # The last chunk's padding byte is often left out.
    return _shorter(size, place - 1) if place else None


def matroska(file: BinaryIO, size: int) -> str | None:
    """Matroska and WebM: the segment's size is a number of 1 to 8 bytes; all ones where it is not known."""
    start = file.read(HEADER)
    place = start.find(MATROSKA_SEGMENT) + len(MATROSKA_SEGMENT)
    if place < len(MATROSKA_SEGMENT) or place >= len(start) or not start[place]:
        return None
    width = 9 - start[place].bit_length()
    value = int.from_bytes(start[place : place + width], "big") & ((1 << 7 * width) - 1)
    return None if value == (1 << 7 * width) - 1 else _shorter(size, place + width + value)


def asf(file: BinaryIO, size: int) -> str | None:
    """ASF (.wmv): the header's file size, unless it is a broadcast's."""
    start = file.read(HEADER)
    place = start.find(ASF_FILE_PROPERTIES)
    if place < 0 or len(start) < place + 92:
        return None
    needed, flags = struct.unpack_from("<Q", start, place + 40)[0], struct.unpack_from("<I", start, place + 88)[0]
    return None if flags & 1 else _shorter(size, needed)


def gif(file: BinaryIO, size: int) -> str | None:
    """GIF: blocks up to the trailer (GIF89a specification, sections 17 to 27)."""
    header = file.read(13)
    if len(header) == 13 and header[10] & 0x80:
        file.seek(3 << (header[10] & 7) + 1, 1)
    while (kind := file.read(1)) and kind != b";":
        if kind == b"!":
            file.seek(1, 1)
        elif kind == b",":
            flags = file.read(9)[-1:]
            if flags and flags[0] & 0x80:
                file.seek(3 << (flags[0] & 7) + 1, 1)
            file.seek(1, 1)
        else:
            return "a block of it is damaged"
        while (length := file.read(1)) and length != b"\0":
            file.seek(length[0], 1)
    return None if kind == b";" else "its last block is missing"


def transport_stream(file: BinaryIO, size: int) -> str | None:
    """MPEG-TS: packets of 188 bytes, of 192 on discs (.m2ts), or of 204."""
    start = file.read(5 * 204)
    for length, offset in ((188, 0), (192, 4), (204, 0)):
        if len(start) > 3 * length + offset and all(start[offset + k * length] == 0x47 for k in range(4)):
            return "its last packet is cut" if size % length else None
    return None


def program_stream(file: BinaryIO, size: int) -> str | None:
    """MPEG-PS (.mpg, .vob): packs of packets that state their lengths (ISO 13818-1, section 2.5)."""
    file.seek(max(0, size - HEADER))
    end = file.read()
    place = end.rfind(PACK)
    if place < 0:
        return None
    header = end[place + 4 : place + 14]
    if len(header) < 10:
        return "its last pack is cut"
    place += 14 + (header[9] & 7) if header[0] >> 6 == 1 else 12
    while place < len(end) and end[place : place + 4] != PROGRAM_END:
        if end[place : place + 3] != b"\0\0\1"[: len(end) - place]:
            return None  # padding after the last packet
        place += 6 + int.from_bytes(end[place + 4 : place + 6].ljust(2, b"\xff"), "big")
    return "its last packet is cut" if place > len(end) else None


def yuv4mpeg(file: BinaryIO, size: int) -> str | None:
    """YUV4MPEG2: frames of one size after a line of text."""
    header = file.readline(HEADER)
    frame = file.readline(HEADER)
    words = {word[:1]: word[1:] for word in header.split()[1:]}
    try:
        width, height = int(words[b"W"]), int(words[b"H"])
    except (KeyError, ValueError):
        return None
    chroma = words.get(b"C", b"420").split(b"p")[0]
    halves = {b"420": (2, 2), b"420jpeg": (2, 2), b"420mpeg2": (2, 2), b"422": (2, 1), b"411": (4, 1), b"444": (1, 1)}
    if chroma == b"mono":
        pixels = width * height
    elif words.get(b"C", b"420") in (*halves, b"420paldv"):
        across, down = halves.get(chroma, (2, 2))
        pixels = width * height + 2 * (-(-width // across)) * (-(-height // down))
    else:
        return None
    return "its last frame is cut" if (size - len(header)) % (len(frame) + pixels) else None


def ogg(file: BinaryIO, size: int) -> str | None:
    """Ogg: the last page ends a stream and is complete (RFC 3533, section 6)."""
    file.seek(max(0, size - HEADER - 0x1000))
    end = file.read()
    place = end.rfind(b"OggS")
    if place < 0 or place + 27 > len(end):
        return "its last page is missing"
    table = end[place + 27 : place + 27 + end[place + 26]]
    if place + 27 + len(table) + sum(table) > len(end):
        return "its last page is cut"
    return None if end[place + 5] & OGG_LAST_PAGE else "its last page is missing"


def _shorter(size: int, needed: int) -> str | None:
    return f"it should have {needed} bytes, but has {size}" if size < needed else None


LOOKS: dict[str, Callable[[BinaryIO, int], str | None]] = {
    "avi": riff,
    "matroska,webm": matroska,
    "asf": asf,
    "gif": gif,
    "mpegts": transport_stream,
    "mpeg": program_stream,
    "yuv4mpegpipe": yuv4mpeg,
    "ogg": ogg,
}
"""FFmpeg's names of the formats that can be looked at."""
