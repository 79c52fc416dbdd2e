"""Flow files: the door to `.flo`, `.pfm`, `.npy`, `.flo5`, `.exr` and KITTI's 16-bit PNG."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from flowzoo.errors import InputError
from flowzoo.files import exr, flo, flo5, kitti_png, npy, pfm
from flowzoo.files.atomic import replacing
from flowzoo.files.reading import opened, shown_start
from flowzoo.files.validity import known_pixels
from flowzoo.settings import suggestion

SUFFIXES = {".flo": "flo", ".pfm": "pfm", ".npy": "npy", ".flo5": "flo5", ".exr": "exr", ".png": "kitti"}
STARTS = {
    flo.MAGIC: "flo",
    b"PF": "pfm",
    b"Pf": "pfm",
    b"\x93NUMPY": "npy",
    b"\x89HDF\r\n\x1a\n": "flo5",
    kitti_png.MAGIC: "kitti",
    exr.MAGIC: "exr",
}
"""The first bytes of each format; they decide, and not the file's name."""
READERS: dict[str, Callable[[Path], tuple[np.ndarray, np.ndarray]]] = {
    "flo": flo.read,
    "pfm": pfm.read,
    "npy": npy.read,
    "flo5": flo5.read,
    "kitti": kitti_png.read,
    "exr": exr.read,
}
WRITERS: dict[str, Callable[[BinaryIO, np.ndarray, np.ndarray], None]] = {
    "flo": flo.write,
    "pfm": pfm.write,
    "npy": npy.write,
    "flo5": flo5.write,
    "kitti": kitti_png.write,
    "exr": exr.write,
    "exr-half": exr.write_half,
}


def read_flow(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read a flow file; its first bytes tell the format.

    A pixel is invalid where the file says so: KITTI's third channel is 0, or (in the other formats) a component is
    NaN, infinite or beyond 1e9, which is how Middlebury marks unknown flow. Valid values are the file's own, to the
    last bit.

    Returns:
        flow: HxWx2 float32, x (right) then y (down), in pixels; 0 at invalid pixels.
        valid: HxW bool.

    Raises:
        InputError: the file is missing, empty, truncated, damaged, or holds no flow.
    """
    with opened(path, "a flow file (.flo, .pfm, .npy, .flo5, .exr, or KITTI's 16-bit .png)") as (file, _):
        start = file.read(8)
    for magic, name in STARTS.items():
        if start.startswith(magic):
            return READERS[name](Path(path))
    suffix = Path(path).suffix.lower()
    if suffix in SUFFIXES:
        raise InputError(f"{path} is no {suffix} flow file: it starts with {shown_start(start)}; is it damaged?")
    raise InputError(f"{path} holds no flow: it starts with {shown_start(start)}; formats: {', '.join(SUFFIXES)}")


def write_flow(
    path: str | os.PathLike[str],
    flow: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    format: str | None = None,
    clip: bool = False,
) -> None:
    """Write a flow file, complete or not at all.

    Args:
        path: where to; missing folders are made.
        flow: HxWx2 real numbers, x then y, in pixels; written as float32, or rounded to 1/64 px for KITTI.
        valid: HxW, True where flow is known. None: where it is finite (and at most 1e9 px), except for KITTI, which
            then must be finite everywhere. Invalid pixels become 1.67e9 in `.flo`, zero flow with a zero third channel
            in KITTI's PNG (as in the data sets' own files), and NaN in the other formats.
        format: "flo", "pfm", "npy", "flo5", "exr", "exr-half" or "kitti"; None: by the suffix, where `.png` is KITTI's
            16-bit encoding.
        clip: limit each component to KITTI's range [-512, 512) px instead of refusing flow beyond it.

    Raises:
        InputError: a wrong shape or type, an unknown format, flow that is not finite at a valid pixel, flow outside
            KITTI's range, or a file that cannot be written.
    """
    name = _format_of(Path(path), format)
    flow = _as_flow(flow, path)
    known = known_pixels(flow)
    if valid is None:
        valid = np.ones_like(known) if name == "kitti" else known
    else:
        valid = np.asarray(valid).astype(bool)
        if valid.shape != known.shape:
            raise InputError(f"cannot write {path}: valid has shape {valid.shape}, flow has {flow.shape}")
    if (wrong := valid & ~known).any():
        count, place = _described(wrong)
        raise InputError(
            f"cannot write {path}: flow is not a finite number at {count} valid pixels, first at {place}; "
            "mark them as invalid, or find out where they come from"
        )
    if name == "kitti":
        if not valid.all():
            flow = np.where(valid[..., None], flow, np.float32(0))
        if clip:
            flow = kitti_png.clipped(flow)
        elif (wrong := kitti_png.outside(flow)).any():
            count, place = _described(wrong)
            raise InputError(
                f"cannot write {path}: flow is outside KITTI's range of -512 to 511.98 px at {count} pixels, first at "
                f"{place}; clip it (--clip, clip=True) or choose another format"
            )
    with replacing(path) as temporary, temporary.open("wb") as file:
        WRITERS[name](file, flow, valid)


def _format_of(path: Path, format: str | None) -> str:
    if format is not None:
        if format not in WRITERS:
            raise InputError(f"there is no flow format {format!r}: {suggestion(format, WRITERS)}")
        return format
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write {path}: no flow format ends in {path.suffix!r}; use {', '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix.lower()]


def _as_flow(flow: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """`flow` as HxWx2 float32."""
    flow = np.asarray(flow)
    if flow.ndim != 3 or flow.shape[2] != 2 or 0 in flow.shape:
        raise InputError(f"cannot write {path}: flow has shape {flow.shape}, expected (H, W, 2)")
    if flow.dtype.kind not in "fiu":
        raise InputError(f"cannot write {path}: flow is {flow.dtype}, expected real numbers, best float32")
    with np.errstate(over="ignore"):
        return flow.astype(np.float32, copy=False)


def _described(wrong: np.ndarray) -> tuple[int, str]:
    """How many pixels of an HxW mask, and where the first one is."""
    row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return int(wrong.sum()), f"row {row}, column {column}"
