"""OpenEXR files for compositing: frames, flow as `forward.u` and `forward.v`, ST maps as `R` and `G`. Extra `formats`.

Frames are in linear light there; networks know pictures as screens show them, so they are given sRGB (IEC 61966-2-1).
Flow keeps flowzoo's axes: v is down, in pixels. An ST map has the compositor's: from 0 to 1, T upwards from the lower
edge, at pixel centres (what Nuke's STMap node and Fusion's texture tools read).
"""

import os
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np

from flowzoo.errors import InputError
from flowzoo.extras import needed_for
from flowzoo.files.atomic import replacing
from flowzoo.files.reading import decoding, opened, shown
from flowzoo.files.validity import without_unknown

MAGIC = b"v/1\x01"
FLOW = ("forward.u", "forward.v")
"""Names of the channels that hold flow."""
LARGEST = 2**27
"""Pixels of a file that is read."""
COLOURS = ("R", "G", "B")
"""Names of the channels that hold a frame."""
HALF_LIMIT = 65504.0
"""The largest number of 16-bit floating point."""


def require() -> ModuleType:
    """OpenEXR's own Python module.

    Raises:
        InputError: it is not installed.
    """
    with needed_for(".exr files need", "OpenEXR", "formats"):
        import OpenEXR
    module: ModuleType = OpenEXR
    return module


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """See `flowzoo.files.flow.read_flow`."""
    channels = read_channels(path, FLOW)
    flow = np.stack([channels[name] for name in FLOW], axis=-1)
    return without_unknown(np.ascontiguousarray(flow, np.float32))


def read_channels(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Channels of an .exr file of one part, (H,W) float16 or float32 as they are stored.

    Raises:
        InputError: the package or the file is missing, the file is damaged or too large, or has no such channels.
    """
    height, width = _size(path, names)
    with decoding(f"{path} is no complete .exr file"), require().File(str(path), separate_channels=True) as content:
        found = {name: channel.pixels for name, channel in content.channels().items()}
    for name in names:
        if found[name].dtype.kind != "f" or found[name].shape != (height, width):
            raise InputError(f"{path}: channel {name} is {found[name].dtype}, not whole-size floating point")
    return {name: found[name] for name in names}


def _size(path: Path, names: tuple[str, ...]) -> tuple[int, int]:
    """(height, width) of a file that has the channels `names`, from its header."""
    library = require()
    fault = f"{path} is no complete .exr file"
    with opened(path, "an .exr file") as (file, size), decoding(fault):
        if file.read(4) != MAGIC:
            raise InputError(f"{path} is no .exr file")
        with library.File(str(path), header_only=True) as content:
            # Read here: the header goes with its file.
            low, high = content.header()["dataWindow"]
            found = [str(channel.name) for channel in content.header()["channels"]]
        width, height = (int(last) - int(first) + 1 for first, last in zip(low, high, strict=True))
        if width < 1 or height < 1 or width * height > min(LARGEST, 10_000 * size):
            raise InputError(f"{path} is damaged or too large: its header says {width}x{height} pixels")
    if not set(names) <= set(found):
        there = shown(", ".join(found), 120)
        raise InputError(f"{path} has no channels {' and '.join(names)}: found {there}")
    return height, width


def is_exr(path: str | os.PathLike[str]) -> bool:
    """Whether an image file is meant to be one, by its suffix."""
    return Path(path).suffix.lower() == ".exr"


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of a frame, from its header.

    Raises:
        InputError: as `read_picture`.
    """
    return _size(path, COLOURS)


def read_picture(path: Path) -> np.ndarray:
    """A frame in linear light as HxWx3 uint16 sRGB; below 0 (and no number) is 0, above 1 is 65535.

    Raises:
        InputError: the package or the file is missing, the file is damaged or too large, or has no R, G and B.
    """
    channels = read_channels(path, COLOURS)
    linear = np.stack([np.asarray(channels[name], np.float32) for name in COLOURS], axis=-1)
    linear = np.clip(np.nan_to_num(linear, nan=0.0), 0, 1)
    bright = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
    pixels: np.ndarray = np.rint(65535 * bright).astype(np.uint16)
    return pixels


def write(file: BinaryIO, flow: np.ndarray, valid: np.ndarray) -> None:
    """Write flow (HxWx2 float32) with unknown pixels as NaN, 32 bits a value."""
    _write(Path(file.name), _channels(flow, valid))


def write_half(file: BinaryIO, flow: np.ndarray, valid: np.ndarray) -> None:
    """As `write`, 16 bits a value: 11 binary digits, so steps of 1/16 px from 64 px on.

    Raises:
        InputError: flow beyond 65504 px.
    """
    channels = _channels(flow, valid)
    longest = max(float(np.nanmax(np.abs(values), initial=0)) for values in channels.values())
    if longest > HALF_LIMIT:
        raise InputError(f"flow of {longest:.0f} px does not fit 16-bit floating point: use --format exr")
    _write(Path(file.name), {name: values.astype(np.float16) for name, values in channels.items()})


def write_st_map(path: Path, flow: np.ndarray) -> None:
    """Write the ST map of flow (HxWx2): R, G = where each pixel comes from in the second image, 0..1, T upwards.

    Raises:
        InputError: the package is missing, or the file cannot be written.
    """
    height, width = flow.shape[:2]
    across = (np.arange(width) + 0.5 + flow[..., 0]) / width
    up = 1 - (np.arange(height)[:, None] + 0.5 + flow[..., 1]) / height
    channels = {name: values.astype(np.float32) for name, values in (("R", across), ("G", up), ("B", 0 * up))}
    with replacing(path) as temporary:
        _write(temporary, channels)


def _channels(flow: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    known = flow if valid.all() else np.where(valid[..., None], flow, np.float32(np.nan))
    return {name: np.ascontiguousarray(known[..., index], np.float32) for index, name in enumerate(FLOW)}


def _write(path: Path, channels: dict[str, np.ndarray]) -> None:
    library = require()
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    with decoding(f"cannot write {path}"), library.File(header, channels) as content:
        content.write(str(path))
