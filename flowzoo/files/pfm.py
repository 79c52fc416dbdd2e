"""Flow as `.pfm` (FlyingThings3D): a colour portable float map with u, v and a third channel of no meaning.

Text header "PF", "width height", "scale" (negative: little endian), then rows from the bottom to the top. Blanks at the
ends of its lines and comments (# to the end of the line) are allowed, as Netpbm's tools write them.
"""

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from flowzoo.errors import InputError
from flowzoo.files.reading import opened, shown_start
from flowzoo.files.validity import without_unknown

# Between two words stand blanks, line ends and comments; the last word ends its line. Each number has at most 20
# characters: a damaged file is refused before anything is computed from it.
_GAP = rb"(?:\s|#[^\n]*\n){1,4000}"
HEADER = re.compile(
    rb"(P[Ff])" + _GAP + rb"(\d{1,20})" + _GAP + rb"(\d{1,20})" + _GAP + rb"([-+.\deE]{1,20})[ \t]*(?:#[^\n]*)?\r?\n"
)
HEADER_LIMIT = 4096


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """See `flowzoo.files.flow.read_flow`."""
    with opened(path, "a .pfm file") as (file, size):
        start = file.read(HEADER_LIMIT)
        header = HEADER.match(start)
        if header is None:
            raise InputError(f"{path} is no .pfm file: it starts with {shown_start(start)} and has no PFM header")
        kind, width, height = header[1], int(header[2]), int(header[3])
        if kind == b"Pf":
            raise InputError(
                f"{path} holds one channel (a disparity?): flow in a .pfm has three, u, v and an unused one"
            )
        try:
            scale = float(header[4])
        except ValueError as error:
            raise InputError(f"{path} is damaged: its PFM scale {header[4].decode()!r} is no number") from error
        if abs(scale) != 1:
            raise InputError(f"{path} has PFM scale {scale:g}: only 1 and -1 have an agreed meaning for flow")
        if width < 1 or height < 1:
            raise InputError(f"{path} is damaged: its PFM header says {width}x{height} pixels")
        needed = header.end() + 12 * width * height
        if size != needed:
            fault = "truncated, or its header is damaged" if size < needed else "damaged: it is too long"
            raise InputError(f"{path} is {fault}: {width}x{height} pixels take {needed} bytes, this file has {size}")
        file.seek(header.end())
        values = np.fromfile(file, "<f4" if scale < 0 else ">f4", 3 * width * height)
    flow = values.reshape(height, width, 3)[::-1, :, :2]
    return without_unknown(np.array(flow, np.float32, order="C"))


def write(file: BinaryIO, flow: np.ndarray, valid: np.ndarray) -> None:
    """Write flow (HxWx2 float32); the third channel is 0, unknown pixels are NaN."""
    height, width = valid.shape
    values = np.zeros((height, width, 3), "<f4")
    values[..., :2] = flow[::-1]
    values[~valid[::-1], :2] = np.nan
    file.write(f"PF\n{width} {height}\n-1.0\n".encode())
    file.write(values.data)
