"""Pixels as a file holds them, at its own depth, through imageio with the plugin named.

| file | plugin |
|---|---|
| 8 bits a channel; 16-bit grey | `pillow` |
| 16-bit TIFF of several channels | `tifffile` (extra `formats`) |
| 16-bit PNG of several channels | none: imageio's would round it to 8 bits (`flowzoo.files.kitti_png`) |
| 16-bit colour PPM | none: Pillow rounds it to 8 bits |
| 16-bit colour JPEG 2000 | none, and refused: Pillow rounds it to 8 bits, white to black |

imageio is never left to choose: its own choice rounds 16-bit PNG to 8 bits in silence.
"""

import io
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from flowzoo.errors import InputError
from flowzoo.extras import needed_for
from flowzoo.files.decoders import decoded_image
from flowzoo.files.deep_headers import avif_bits, jpeg2000_bits
from flowzoo.files.kitti_png import one_byte, read_rgb16
from flowzoo.files.reading import DAMAGE, decoding, opened, reason
from flowzoo.files.tiff_header import tiff_bits

if TYPE_CHECKING:
    from PIL import Image

RGB, GREY_ALPHA, RGB_ALPHA = 2, 4, 6
"""PNG's numbers of these kinds of colour."""

_GAP = rb"(?:\s|#[^\n]*\n)+"
_PPM_HEADER = re.compile(rb"P6" + _GAP + rb"\d+" + _GAP + rb"\d+" + _GAP + rb"65535\s")


def read_stored(path: str | os.PathLike[str]) -> np.ndarray:
    """The first picture of an image file: HxW or HxWxC, uint8 or uint16 as stored, never rounded.

    Palettes become RGB or RGBA, one-bit pictures 0 and 255. The pixels are those of the file: an EXIF orientation is
    not applied.

    Raises:
        InputError: the file is missing, truncated, no image, of other numbers than 8 or 16 bits a channel, or of 16
            bits in a form that cannot be read exactly.
    """
    with decoded_image(path) as image:
        file: Any = getattr(image, "fp", None)
        deep = bits_stored(image) > 8
        if not deep:
            pixels = decode(file, "L" if image.mode == "1" else None)
        elif image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
            pixels = deep_grey(image)
        elif image.format == "PNG" and (colour := _png_header(file)[1]) in (RGB, GREY_ALPHA, RGB_ALPHA):
            return read_rgb16(Path(path)) if colour == RGB else _deep_alpha(Path(path), colour)
        elif image.format == "PPM" and (start := _deep_ppm_start(file)):
            return _deep_ppm(file, start, image.size)
        elif image.format == "TIFF":
            pixels = _deep_tiff(path)
        else:
            raise InputError(
                f"{path}: 16-bit {image.format} of this kind cannot be read exactly: save it as PNG or TIFF"
            )
        if pixels.dtype not in (np.uint8, np.uint16):
            raise InputError(f"{path} holds {pixels.dtype} values: save it with 8 or 16 bits a channel")
        return pixels


def decode(file: BinaryIO, mode: str | None = None) -> np.ndarray:
    """The first picture of an open file, by imageio's plugin for Pillow.

    Args:
        file: whose format and size were looked at before.
        mode: Pillow's mode to convert to; None: as stored.
    """
    import imageio.v3

    # The plugin closes what it is given: a second descriptor leaves the file itself open.
    with (
        io.BytesIO(file.getbuffer())
        if isinstance(file, io.BytesIO)
        else os.fdopen(os.dup(file.fileno()), "rb") as again
    ):
        again.seek(0)
        pixels: np.ndarray = imageio.v3.imread(again, plugin="pillow", index=0, mode=mode)
    return pixels


def deep_grey(image: "Image.Image") -> np.ndarray:
    """The pixels (H, W) of an open file of one channel above 8 bits, uint16; the 12 bits of a TIFF stretched to 16."""
    file: Any = getattr(image, "fp", None)
    twelve = False
    if image.format == "TIFF":
        file.seek(0)
        twelve = tiff_bits(file) == 12
    pixels = decode(file).astype(np.uint16)
    return pixels << 4 | pixels >> 8 if twelve else pixels


def bits_stored(image: "Image.Image") -> int:
    """Bits a channel that an open file holds, from its header; Pillow itself shows 8 where it rounds to them."""
    if image.mode.startswith("I;16"):
        return 16
    with suppress(*DAMAGE):
        file: Any = getattr(image, "fp", None)
        if image.format == "PNG":
            return _png_header(file)[0]
        if image.format == "TIFF":
            file.seek(0)
            return tiff_bits(file)
        if image.format == "PPM":
            return 16 if image.mode == "I" or _largest_of_ppm(file) > 255 else 8
        if image.format == "JPEG2000":
            return 16 if jpeg2000_bits(file) > 8 else 8  # greys of 10 or 12 bits come as 16
        if image.format == "AVIF":
            return avif_bits(file)
        if image.format == "HEIF":
            return int(image.info.get("bit_depth", 8))
    return 8


def _png_header(file: BinaryIO) -> tuple[int, int]:
    """Bits a channel and kind of colour."""
    file.seek(24)
    depth, colour = file.read(2)
    return depth, colour


def _deep_alpha(path: Path, colour: int) -> np.ndarray:
    """A 16-bit PNG with alpha, HxWx2 or HxWx4 uint16."""
    with opened(path, "an image") as (file, _):
        if colour == GREY_ALPHA:
            # Two values of two bytes are four of one byte to Pillow's decoder, which keeps them all.
            both = one_byte(file, path, "RGBA").astype(np.uint16)
            high, low = both[..., ::2], both[..., 1::2]
        else:
            high, low = (one_byte(file, path, f"RGBA;16{end}").astype(np.uint16) for end in "BL")
    return high << 8 | low


def _deep_ppm_start(file: BinaryIO) -> int:
    """Where the pixels of a binary colour PPM of all 16 bits begin; 0 if it is another kind."""
    file.seek(0)
    found = _PPM_HEADER.match(file.read(1 << 12))
    return found.end() if found else 0


def _deep_ppm(file: BinaryIO, start: int, size: tuple[int, int]) -> np.ndarray:
    """HxWx3 uint16; `size` is (width, height)."""
    file.seek(start)
    count = 3 * size[0] * size[1]
    content = file.read(2 * count)
    if len(content) < 2 * count:
        raise OSError("image file is truncated")
    return np.frombuffer(content, ">u2").reshape(size[1], size[0], 3).astype(np.uint16)


def _largest_of_ppm(file: BinaryIO) -> int:
    """The number that stands for full brightness: the fourth word, without comments."""
    file.seek(0)
    words: list[bytes] = []
    for line in file.read(1 << 12).splitlines():
        words += line.split(b"#")[0].split()
        if len(words) >= 4:
            return int(words[3])
    return 255


def _deep_tiff(path: str | os.PathLike[str]) -> np.ndarray:
    with needed_for(f"{path} holds 16 bits a channel, which need", "tifffile", "formats"):
        import imageio.v3
        import tifffile  # noqa: F401 - what the plugin needs
    # The library wants a file with a name.
    with decoding(f"{path} is a truncated or damaged image"), open(path, "rb") as file:
        try:
            pixels: np.ndarray = imageio.v3.imread(file, plugin="tifffile", index=0)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise InputError(
                f"{path}: {reason(error)}: pip install imagecodecs, or save it without compression"
            ) from error
    return pixels
