"""Middlebury's `.flo`: "PIEH", width and height as int32, then u and v interleaved as float32, all little endian.

Format of the flow code beside Baker et al., "A Database and Evaluation Methodology for Optical Flow" (IJCV 2011).
"""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from flowzoo.errors import InputError
from flowzoo.files.reading import opened, shown_start
from flowzoo.files.validity import without_unknown

MAGIC = b"PIEH"
"""The float32 202021.25, little endian."""
UNKNOWN = 1666666752.0
"""What the data set's own files hold at unknown pixels."""


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """See `flowzoo.files.flow.read_flow`."""
    with opened(path, "a .flo file") as (file, size):
        header = file.read(12)
        if header[:4] != MAGIC:
            raise InputError(f"{path} is no .flo file: it starts with {shown_start(header)}, not 'PIEH'")
        if len(header) < 12:
            raise InputError(f"{path} is truncated: a .flo header has 12 bytes, this file has {size}")
        width, height = struct.unpack("<ii", header[4:])
        if width < 1 or height < 1:
            raise InputError(f"{path} is damaged: its .flo header says {width}x{height} pixels")
        needed = 12 + 8 * width * height
        if size != needed:
            fault = "truncated, or its header is damaged" if size < needed else "damaged: it is too long"
            raise InputError(f"{path} is {fault}: {width}x{height} pixels take {needed} bytes, this file has {size}")
        flow = np.fromfile(file, "<f4", 2 * width * height).reshape(height, width, 2)
    return without_unknown(flow.astype(np.float32, copy=False))


def write(file: BinaryIO, flow: np.ndarray, valid: np.ndarray) -> None:
    """Write flow (HxWx2 float32) with unknown pixels as the data set marks them."""
    height, width = valid.shape
    if not valid.all():
        flow = np.where(valid[..., None], flow, np.float32(UNKNOWN))
    file.write(MAGIC + struct.pack("<ii", width, height))
    file.write(np.ascontiguousarray(flow, "<f4").data)
