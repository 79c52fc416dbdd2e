"""Flow as NumPy's `.npy`: one array (H, W, 2), u then v, NaN where unknown."""

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from flowzoo.errors import InputError
from flowzoo.files.reading import decoding, opened
from flowzoo.files.validity import without_unknown


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """See `flowzoo.files.flow.read_flow`. Any real number type is converted to float32."""
    with opened(path, "a .npy file") as (file, size):
        with decoding(f"{path} is no complete .npy file"):
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise InputError(f"{path} has .npy version {version[0]}.{version[1]}: plain arrays have 1.0 or 2.0")
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = header(file)
        if kind.kind not in "fiu":
            raise InputError(f"{path} holds values of type {kind}: flow must be real numbers, best float32")
        if len(shape) != 3 or shape[2] != 2 or min(shape) < 1:
            hint = "; transpose it to (H, W, 2)" if len(shape) == 3 and shape[0] == 2 else ""
            raise InputError(f"{path} holds an array of shape {shape}: flow has the shape (H, W, 2){hint}")
        needed = file.tell() + math.prod(shape) * kind.itemsize
        if size < needed:
            raise InputError(
                f"{path} is truncated, or its header is damaged: shape {shape} takes {needed} bytes, "
                f"this file has {size}"
            )
        file.seek(0)
        with np.errstate(over="ignore"), decoding(f"{path} is no complete .npy file"):
            flow = np.array(np.lib.format.read_array(file, allow_pickle=False), np.float32, order="C")
    return without_unknown(flow)


def write(file: BinaryIO, flow: np.ndarray, valid: np.ndarray) -> None:
    """Write flow (HxWx2 float32) with unknown pixels as NaN."""
    if not valid.all():
        flow = np.where(valid[..., None], flow, np.float32(np.nan))
    np.lib.format.write_array(file, np.ascontiguousarray(flow, np.float32), allow_pickle=False)
