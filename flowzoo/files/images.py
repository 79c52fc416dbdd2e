"""Image files: 8-bit RGB in and out, sizes without decoding, folders of frames in natural order."""

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flowzoo.errors import InputError
from flowzoo.files import exr
from flowzoo.files.atomic import replacing
from flowzoo.files.decoders import decoded_frame, decoded_image
from flowzoo.files.reading import reason
from flowzoo.files.stored import bits_stored, decode, deep_grey, read_stored

SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".pnm", ".bmp", ".tif", ".tiff", ".webp")
"""What `list_images` takes for an image, and what `write_image` writes."""
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".bmp": "BMP"}
FORMATS |= {".webp": "WEBP", ".ppm": "PPM", ".pgm": "PPM", ".pnm": "PPM"}


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file as HxWx3 uint8 RGB.

    Grey, 1-bit, palette, CMYK and YCbCr images are converted. Alpha is dropped: the stored colours count, as in OpenCV
    and in data sets' readers. Of 16-bit values the upper 8 bits are kept. The pixels are those of the file: an EXIF
    orientation is not applied, so that flow and file have one pixel grid. Of several pictures in a file the first.

    Raises:
        InputError: the file is missing, empty, truncated, no image, or holds 32-bit or floating-point values, or
            colours of more than 8 bits as JPEG 2000.
    """
    if exr.is_exr(path):
        return eight_bits(exr.read_picture(Path(path)))
    with decoded_image(path) as image:
        return _pixels(image, str(path))


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file as HxWx3 RGB at its own depth: uint8, or uint16 from 0 to 65535 where it holds 16 bits.

    As `read_image`, but no 16-bit value is rounded. OpenEXR files are of floating point, in linear light: they come as
    sRGB of 16 bits, with what is below 0 or above 1 cut. Of HEIC and AVIF with 10 or 12 bits the upper 8 are kept.

    Raises:
        InputError: as `read_image`; or the 16 bits are in a form that cannot be read exactly.
    """
    if exr.is_exr(path):
        return exr.read_picture(Path(path))
    with decoded_image(path) as image:
        if bits_stored(image) <= 8 or image.format in ("HEIF", "AVIF"):
            return _pixels(image, str(path))
    stored = read_stored(path)
    grey = stored if stored.ndim == 2 else stored[..., 0]
    if stored.ndim == 2 or stored.shape[2] < 3:
        return np.repeat(grey[..., None], 3, axis=2)
    return np.ascontiguousarray(stored[..., :3])


def read_every_bit(path: str | os.PathLike[str]) -> np.ndarray:
    """As `read_picture`, of a file of which that keeps every bit: for data sets, where nobody reads a line about one.

    Raises:
        InputError: as `read_picture`; or it is a HEIC or AVIF with more than 8 bits.
    """
    if 8 < (bits := image_depth(path)) < 16:
        raise InputError(f"{path} holds {bits} bits a channel, of which only 8 can be read: save it as PNG")
    return read_picture(path)


def read_eight_bits(path: str | os.PathLike[str]) -> np.ndarray:
    """As `read_image`, of a file that holds no more than 8 bits a channel: for what keeps no more.

    Raises:
        InputError: as `read_image`; or it holds more.
    """
    if (bits := image_depth(path)) > 8:
        raise InputError(f"{path} holds {bits} bits a channel, of which only 8 would be used here: save it with 8")
    return read_image(path)


def eight_bits(image: np.ndarray) -> np.ndarray:
    """The upper 8 bits of uint16 values; uint8 as it is."""
    return image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)


def read_frame(content: bytes, name: str, kind: str) -> np.ndarray:
    """As `read_image`, of a picture within another file; see `decoders.decoded_frame`.

    Raises:
        InputError: it is no such picture, too large, truncated or damaged.
    """
    with decoded_frame(content, name, kind) as image:
        return _pixels(image, name)


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    file: Any = getattr(image, "fp", None)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        # 16-bit grey, of which Pillow's own conversion to 8 bits cuts off all above 255 in some versions.
        grey = (deep_grey(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        kind = "32-bit" if image.mode == "I" else "floating-point"
        raise InputError(f"{name} holds {kind} values: save it with 8 or 16 bits a channel")
    if image.format == "JPEG2000" and bits_stored(image) > 8:
        raise InputError(f"{name}: JPEG 2000 with more than 8 bits a colour cannot be read: save it as PNG or TIFF")
    return decode(file, "RGB")


def image_depth(path: str | os.PathLike[str]) -> int:
    """Bits a channel of an image file, from its header; `read_image` keeps the upper 8, `read_picture` 16.

    Raises:
        InputError: the file is missing, empty or no image.
    """
    if exr.is_exr(path):
        return 16
    with decoded_image(path) as image:
        return bits_stored(image)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of an image file, from its header alone.

    Raises:
        InputError: the file is missing, empty or no image.
    """
    if exr.is_exr(path):
        return exr.picture_size(Path(path))
    with decoded_image(path) as image:
        return image.height, image.width


def write_image(path: str | os.PathLike[str], image: np.ndarray, quality: int = 95) -> None:
    """Write HxWx3 uint8 RGB or HxW uint8 grey, complete or not at all.

    Args:
        path: where to; the suffix gives the format, one of `SUFFIXES`; missing folders are made.
        image: the pixels.
        quality: of JPEG and WebP, 1 to 100; JPEG keeps full colour resolution (4:4:4), since flow is told by colour.

    Raises:
        InputError: a wrong shape or type, an unknown suffix, a size the format cannot hold, or a file that cannot be
            written.
    """
    image = np.asarray(image)
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"cannot write {path}: no image format ends in {suffix!r}; use {', '.join(SUFFIXES)}")
    colour = image.ndim == 3 and image.shape[2] == 3
    if not (colour or image.ndim == 2) or image.dtype != np.uint8 or image.size == 0:
        raise InputError(
            f"cannot write {path}: it is {image.dtype} of shape {image.shape}, expected uint8 (H, W, 3) or (H, W)"
        )
    if colour and suffix == ".pgm":
        raise InputError(f"cannot write {path}: .pgm holds grey images; use .ppm")
    if not 1 <= quality <= 100:
        raise InputError(f"cannot write {path}: quality {quality} is not within 1 to 100")
    options: dict[str, object] = {}
    if FORMATS[suffix] in ("JPEG", "WEBP"):
        options["quality"] = quality
    if FORMATS[suffix] == "JPEG":
        options["subsampling"] = 0
    # In memory first: encoders report a full disk in words of their own.
    buffer = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(image)).save(buffer, FORMATS[suffix], **options)
    except (OSError, ValueError) as error:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise InputError(f"cannot write {path}: {reason(error)} (size {size}); use .png or .tif") from error
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Image files of a folder (by `SUFFIXES`, no hidden ones, not of its subfolders); frame_2 before frame_10.

    Raises:
        InputError: it is no folder, or cannot be read.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{path} is no folder: give a folder of images")
    try:
        files = [
            entry
            for entry in path.iterdir()
            if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
        ]
    except OSError as error:
        raise InputError(f"cannot read the folder {path}: {reason(error)}") from error
    return sorted(files, key=lambda file: natural_key(file.name))


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorting key that compares runs of digits as numbers, and other text without regard to case."""
    # re.split with a group gives text, digits, text, ...: the same kind stands at the same place in every key.
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)], name
