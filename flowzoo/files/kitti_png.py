"""KITTI's flow as a 16-bit RGB PNG: red = 64 u + 2^15, green = 64 v + 2^15, blue = 1 where valid, else 0.

Format of the development kits of Geiger et al. (CVPR 2012) and Menze and Geiger (CVPR 2015). HD1K uses it too.
"""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile

from flowzoo.errors import InputError
from flowzoo.files.reading import decoding, opened, reason, shown_start

MAGIC = b"\x89PNG\r\n\x1a\n"
STEPS_PER_PIXEL = 64
ZERO = 2**15
DEFLATE_LIMIT = 1032
"""Deflate turns one byte into at most this many (zlib's technical notes), so the file's size bounds an honest image."""
COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """See `flowzoo.files.flow.read_flow`. Flow comes in steps of 1/64 px, from -512 to 511.984375."""
    values = read_rgb16(path)
    valid = values[..., 2] > 0
    flow = values[..., :2].astype(np.float32)
    flow -= ZERO
    flow /= STEPS_PER_PIXEL
    flow[~valid] = 0
    return flow, valid


def write(file: BinaryIO, flow: np.ndarray, valid: np.ndarray) -> None:
    """Write flow (HxWx2 float32, finite, none of it `outside`) rounded to 1/64 px."""
    values = np.empty((*valid.shape, 3), np.uint16)
    steps = np.rint(flow * np.float32(STEPS_PER_PIXEL))
    steps += ZERO
    values[..., :2] = steps
    values[..., 2] = valid
    write_rgb16(file, values)


def clipped(flow: np.ndarray) -> np.ndarray:
    """Flow limited to what the format holds, component by component."""
    limited: np.ndarray = np.clip(flow, -ZERO / STEPS_PER_PIXEL, (ZERO - 1) / STEPS_PER_PIXEL)
    return limited


def outside(flow: np.ndarray) -> np.ndarray:
    """HxW bool: True where a component, rounded to 1/64 px, does not fit into 16 bits."""
    steps = np.rint(flow * np.float32(STEPS_PER_PIXEL))
    inside = (steps >= -ZERO) & (steps < ZERO)
    return ~(inside[..., 0] & inside[..., 1])


def read_rgb16(path: Path) -> np.ndarray:
    """A 16-bit RGB PNG as HxWx3 uint16, exact.

    Raises:
        InputError: not such a PNG, or a damaged one.
    """
    with opened(path, "a KITTI flow PNG") as (file, size):
        header = file.read(26)
        if header[:8] != MAGIC:
            raise InputError(f"{path} is no PNG file: it starts with {shown_start(header)}")
        if len(header) < 26 or header[12:16] != b"IHDR":
            raise InputError(f"{path} is a truncated or damaged PNG file: it has no header")
        width, height, depth, colour = struct.unpack(">IIBB", header[16:])
        if depth != 16:
            raise InputError(f"{path} is a colour picture ({depth} bits a channel), not KITTI flow (16 bits, RGB)")
        if colour != 2:
            kind = COLOUR_TYPES.get(colour, "unknown")
            raise InputError(f"{path} is a 16-bit {kind} PNG, not KITTI flow (16-bit RGB: u, v, valid)")
        if width < 1 or height < 1 or 6 * width * height > DEFLATE_LIMIT * size:
            raise InputError(
                f"{path} is truncated, or its header is damaged: {size} bytes cannot hold {width}x{height} pixels"
            )
        # Pillow has no 16-bit RGB image. Its decoder undoes the PNG filters on the full 16-bit data and only then
        # keeps one byte a value: the first where told that values are big endian (they are), the second where little.
        values = np.empty((height, width, 3), np.uint16)
        halves = values.view(np.uint8).reshape(height, width, 3, 2)
        high_byte = 1 if np.little_endian else 0
        halves[..., high_byte] = one_byte(file, path, "RGB;16B")
        halves[..., 1 - high_byte] = one_byte(file, path, "RGB;16L")
    return values


def one_byte(file: BinaryIO, path: Path, raw_mode: str) -> np.ndarray:
    """HxWxC uint8: one of the two bytes of every value of a 16-bit PNG of several channels, or both ("RGBA" of 2)."""
    file.seek(0)
    with decoding(f"{path} is a truncated or damaged PNG file"):
        try:
            with Image.open(file, formats=["PNG"]) as image:
                if not isinstance(image, ImageFile.ImageFile):
                    raise InputError(f"{path} is no PNG file")
                image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
                return np.asarray(image)
        except Image.DecompressionBombError as error:
            raise InputError(f"{path} is too large: {reason(error)}") from error


def write_rgb16(file: BinaryIO, values: np.ndarray) -> None:
    """Write HxWx3 uint16 as a PNG."""
    height, width = values.shape[:2]
    rows = np.ascontiguousarray(values, ">u2").view(np.uint8).reshape(height, 6 * width)
    # Filter 1 (sub): each byte minus the byte one pixel (6 bytes) to the left, modulo 256. Smooth flow packs well so.
    filtered = np.empty((height, 1 + 6 * width), np.uint8)
    filtered[:, 0] = 1
    filtered[:, 1:7] = rows[:, :6]
    np.subtract(rows[:, 6:], rows[:, :-6], out=filtered[:, 7:])
    file.write(MAGIC)
    for kind, content in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(filtered.data, 3)),
        (b"IEND", b""),
    ):
        checksum = zlib.crc32(content, zlib.crc32(kind))
        file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum))
