"""The wire format of Protocol Buffers, as much as Caffe's files need, with every length checked.

https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are not a message: truncated, or something else altogether. The text goes on after "it"."""


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """An unsigned integer at `position`, and the position behind it."""
    value = shift = 0
    while shift < 64:
        if position >= len(data):
            raise WireError("ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise WireError("holds a number of more than 64 bits")


def fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview, int]]:
    """Fields of one message: (number, wire type, value, position of its tag).

    A VARINT's value is an int; that of the other types the bytes of the field.
    """
    position = 0
    while position < len(data):
        start = position
        tag, position = varint(data, position)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("has a field without a number")
        if kind == VARINT:
            value, position = varint(data, position)
            yield number, kind, value, start
            continue
        if kind == BYTES:
            length, position = varint(data, position)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise WireError(f"has a field of unknown type {kind}")
        if length > len(data) - position:
            raise WireError(f"ends {length - (len(data) - position)} bytes too early")
        yield number, kind, data[position : position + length], start
        position += length


def varints(data: memoryview) -> list[int]:
    """A packed list of unsigned integers."""
    values = []
    position = 0
    while position < len(data):
        value, position = varint(data, position)
        values.append(value)
    return values
