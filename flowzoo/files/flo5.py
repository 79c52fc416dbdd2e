"""Spring's `.flo5`: an HDF5 file with one data set `flow`, HxWx2 float32, NaN where unknown.

Mehl et al., "Spring: A High-Resolution High-Detail Dataset and Benchmark for Scene Flow, Optical Flow and Stereo"
(CVPR 2023). Ground truth there has twice the width and height of the images, in pixels of the images.
"""

import io
import math
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np

from flowzoo.errors import InputError
from flowzoo.extras import needed_for
from flowzoo.files.reading import decoding, opened, shown
from flowzoo.files.validity import without_unknown

DEFLATE_LIMIT = 1032
"""Deflate turns one byte into at most this many (zlib's technical notes), so stored bytes bound an honest array."""


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """See `flowzoo.files.flow.read_flow`."""
    h5py = _h5py()
    with (
        opened(path, "a .flo5 file") as (file, size),
        decoding(f"{path} is no complete .flo5 (HDF5) file"),
        h5py.File(file, "r") as content,
    ):
        link = content.get("flow", getlink=True)
        if isinstance(link, (h5py.ExternalLink, h5py.SoftLink)):
            raise InputError(f"{path} has no flow of its own: its data set 'flow' is a link to another place")
        data = content.get("flow")
        if not isinstance(data, h5py.Dataset):
            found = shown(", ".join(map(str, content)), 120) or "nothing"
            raise InputError(f"{path} has no data set 'flow': found {found}")
        if data.external or data.is_virtual:
            raise InputError(f"{path} has no flow of its own: its data set 'flow' lies in other files")
        shape: tuple[int, ...] = data.shape or ()
        if len(shape) != 3 or shape[2] != 2 or 0 in shape or data.dtype.kind != "f":
            raise InputError(f"{path} holds {data.dtype} of shape {shape}: flow is floats of shape (H, W, 2)")
        if math.prod(shape) * data.dtype.itemsize > DEFLATE_LIMIT * size:
            raise InputError(f"{path} is truncated, or its header is damaged: {size} bytes cannot hold shape {shape}")
        flow = data.astype(np.float32)[()]
    return without_unknown(flow)


def write(file: BinaryIO, flow: np.ndarray, valid: np.ndarray) -> None:
    """Write flow (HxWx2 float32) gzip-compressed, with unknown pixels as NaN."""
    h5py = _h5py()
    if not valid.all():
        flow = np.where(valid[..., None], flow, np.float32(np.nan))
    # In memory first: HDF5 reports a full disk only when it closes the file, and not in one line.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as content:
        content.create_dataset("flow", data=flow, compression="gzip", compression_opts=5)
    file.write(buffer.getbuffer())


def _h5py() -> ModuleType:
    with needed_for(".flo5 files need", "h5py", "spring"):
        return import_module("h5py")
