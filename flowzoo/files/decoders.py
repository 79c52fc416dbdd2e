"""Pillow with its doors closed: the formats that are meant, bounded sizes, no words on the screen, one kind of error.

Left to itself, Pillow finds out what a file is by trying every format it knows, and for PostScript it starts a program.
"""

import ctypes
import functools
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from PIL import (
    AvifImagePlugin,  # noqa: F401 - importing a format makes Pillow know it
    Image,
    Jpeg2KImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    TgaImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from flowzoo.errors import InputError
from flowzoo.files.reading import DAMAGE, opened, quiet, reason, shown_start
from flowzoo.files.tiff_header import tiff_values

FORMATS = ("PNG", "JPEG", "PPM", "BMP", "DIB", "TIFF", "WEBP", "GIF", "JPEG2000", "AVIF")
"""What is read, told by a file's first bytes."""
TARGA = (".tga", ".icb", ".vda", ".vst")
"""Targa files have no beginning of their own: here the suffix decides."""
HEIC = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
LARGEST = 2**27
"""Pixels of an image that is read, 16384x8192 for example."""
ALWAYS_FINE = 2**24
MOST_PIXELS_A_BYTE = 10_000
"""Beyond `ALWAYS_FINE` pixels. The densest honest files, black masks of one bit a pixel, have some 8,000."""
_OTHERS = {
    b"%!PS": "a PostScript",
    b"\xc5\xd0\xd3\xc6": "a PostScript",
    b"%PDF": "a PDF",
    b"DDS ": "a DDS texture",
    b"BLP": "a BLP texture",
    b"8BPS": "a Photoshop",
    b"v/1\x01": "an OpenEXR",
    b"#?": "a Radiance HDR",
    b"\xff\x0a": "a JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL",
    b"<svg": "an SVG",
    b"PIEH": "a flow",
    b"PF": "a PFM",
    b"Pf": "a PFM",
    b"\x93NUMPY": "a NumPy",
}


@contextmanager
def decoded_image(path: str | os.PathLike[str], what: str = "an image") -> Iterator[Image.Image]:
    """The image file `path`, its header read; pixels are decoded when they are asked for, within the block.

    Args:
        path: the file.
        what: it is, for messages: "an image", "a mask".

    Raises:
        InputError: it is missing, no ordinary file, of no known format, too large, truncated or damaged; or a decoder
            fails within the block.
    """
    with opened(path, what) as (file, size):
        start = file.read(16)
        formats = ("TGA",) if Path(path).suffix.lower() in TARGA and not _known_start(start) else FORMATS
        if start[4:8] == b"ftyp" and start[8:12] in HEIC and _heif_known():
            formats = ("HEIF",)
        with _decoded(file, size, str(path), formats, start) as image:
            yield image


@contextmanager
def decoded_frame(content: bytes, name: str, kind: str) -> Iterator[Image.Image]:
    """A picture of the one format `kind` ("JPEG") that is part of another file; as `decoded_image`.

    Args:
        content: its bytes.
        name: what it is, for messages: "frame 3 of clip.seq".
        kind: one of `FORMATS`.

    Raises:
        InputError: it is no such picture, too large, truncated or damaged.
    """
    with _decoded(io.BytesIO(content), len(content), name, (kind,), content[:16]) as image:
        yield image


@contextmanager
def _decoded(file: BinaryIO, size: int, name: str, formats: tuple[str, ...], start: bytes) -> Iterator[Image.Image]:
    """The picture in `file`, of one of `formats`; `start` are its first bytes."""
    file.seek(0)
    _silence_libtiff()
    try:
        with quiet(), Image.open(file, formats=formats) as image:
            _check_size(image, size, name)
            yield image
    except InputError:
        raise
    except UnidentifiedImageError as error:
        values = ""
        with suppress(*DAMAGE):
            file.seek(0)
            values = tiff_values(file)
        text = f"holds {values}: save it with 8 or 16 bits a channel" if values else _what_else(start)
        raise InputError(f"{name} {text}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large: at most {LARGEST} pixels are read") from error
    except DAMAGE as error:
        raise InputError(f"{name} is a truncated or damaged image: {reason(error)}") from error


def _check_size(image: Image.Image, size: int, path: str) -> None:
    pixels = image.width * image.height
    if pixels > LARGEST:
        raise InputError(f"{path} is too large: it has {image.width}x{image.height} pixels, at most {LARGEST} are read")
    if pixels > max(ALWAYS_FINE, MOST_PIXELS_A_BYTE * size):
        raise InputError(
            f"{path} is damaged, or a trap: {size} bytes cannot hold a picture of {image.width}x{image.height} pixels"
        )


def _known_start(start: bytes) -> bool:
    return start.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", *_OTHERS))


def _what_else(start: bytes) -> str:
    """What a file of no known format is, as the rest of a sentence about it."""
    if start[4:8] == b"ftyp" and start[8:12] in HEIC:
        if _heif_known():
            return "is a damaged HEIC file"
        return (
            "is a HEIC file, which needs the package pillow-heif: pip install 'flowzoo[formats]', or convert it to PNG"
        )
    for magic, kind in _OTHERS.items():
        if start.startswith(magic):
            return f"is {kind} file, which is not read as an image: convert it to PNG"
    return f"is no image that can be read: it starts with {shown_start(start)}"


@functools.cache
def _heif_known() -> bool:
    """Whether Pillow reads HEIC here, by the package pillow-heif (extra `formats`)."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


@functools.cache
def _silence_libtiff() -> None:
    """Keep libtiff, which Pillow loads, from writing its errors to the process's standard error.

    They are told in the exceptions as well. Where the library cannot be found (it is part of Pillow's own on some
    systems, and only Linux lists what is loaded), its lines stay.
    """
    with suppress(OSError, AttributeError):
        mapped = Path("/proc/self/maps").read_text(errors="replace").splitlines()
        for name in sorted({line.split(maxsplit=5)[-1] for line in mapped if "/libtiff" in line}):
            handler = ctypes.CDLL(name).TIFFSetErrorHandler
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)
