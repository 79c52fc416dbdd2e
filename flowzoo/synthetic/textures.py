"""Where scenes take their colours from: photographs and cut-outs of a folder, and procedural textures."""

import copy
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flowzoo.errors import InputError
from flowzoo.synthetic.procedural_set import ProceduralSet

SUFFIXES = {".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"}
LONGEST = 1280  # pixels; larger photographs are reduced when they are loaded
SMALLEST = 32
PROCEDURAL = 96  # textures in a procedural set

Folder = str | os.PathLike[str]


class Textures:
    """Photographs of a folder and a set of procedural textures, kept in memory as uint8 (3, h, w), channels last.

    Args:
        folder: every image file below it is a photograph; None for procedural textures only.
        procedural: how many procedural textures there are.
        seed: of the procedural textures.

    Raises:
        InputError: no such folder, no image in it, a broken image, or one smaller than SMALLEST px.
    """

    def __init__(self, folder: Folder | None = None, *, procedural: int = PROCEDURAL, seed: int = 0) -> None:
        if procedural < 0 or (folder is None and procedural == 0):
            raise InputError("no textures: give a folder of photographs or a positive number of procedural textures")
        self.names = [] if folder is None else image_files(folder, "textures")
        self.photographs = [_photograph(path) for path in self.names]
        self.procedural = ProceduralSet(seed, procedural)
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> "Textures":
        """The same textures in the memory of `device`."""
        if device == self.device:
            return self
        moved = copy.copy(self)
        moved.device = device
        moved.photographs = [picture.to(device) for picture in self.photographs]
        moved.procedural = ProceduralSet(self.procedural.seed, len(self.procedural), device)
        return moved


class Cutouts:
    """Objects on a transparent ground: RGBA files of a folder, kept as uint8 (4, h, w) with premultiplied colours.

    Raises:
        InputError: no such folder, no image in it, a broken image, or one without an alpha channel.
    """

    def __init__(self, folder: Folder) -> None:
        self.names = image_files(folder, "cut-outs")
        self.images = [_cutout(path) for path in self.names]
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> "Cutouts":
        """The same cut-outs in the memory of `device`."""
        if device == self.device:
            return self
        moved = copy.copy(self)
        moved.device = device
        moved.images = [picture.to(device) for picture in self.images]
        return moved


def image_files(folder: Folder, what: str) -> list[Path]:
    """All image files below `folder`, sorted by their relative path.

    Raises:
        InputError: the folder is missing or holds no image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"no folder {root} with {what}: give a folder of images")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise InputError(f"no image in the {what} folder {root}: known suffixes are {' '.join(sorted(SUFFIXES))}")
    return found


def _channels_first(picture: np.ndarray) -> Tensor:
    """HxWxC uint8 -> (C, H, W) whose memory stays H, W, C: the layout that torch resizes fastest."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)


def _photograph(path: Path) -> Tensor:
    from flowzoo.files.images import read_eight_bits

    picture = _channels_first(read_eight_bits(path))
    height, width = picture.shape[-2:]
    if min(height, width) < SMALLEST:
        raise InputError(f"texture {path} has {width}x{height} pixels: at least {SMALLEST} a side are needed")
    if max(height, width) > LONGEST:
        scale = LONGEST / max(height, width)
        picture = resize_bytes(picture, max(SMALLEST, round(height * scale)), max(SMALLEST, round(width * scale)))
    return picture


def _cutout(path: Path) -> Tensor:
    from flowzoo.files.decoders import decoded_image
    from flowzoo.files.stored import bits_stored

    with decoded_image(path, "a cut-out") as image:
        deep, picture = bits_stored(image) > 8, np.asarray(image)
    if deep or picture.ndim != 3 or picture.shape[2] != 4 or picture.dtype != np.uint8:
        raise InputError(f"cut-out {path} has no 8-bit alpha channel: save it as RGBA PNG")
    alpha = picture[:, :, 3:].astype(np.uint16)
    if not alpha.any():
        raise InputError(f"cut-out {path} is fully transparent: remove it")
    colour = (picture[:, :, :3].astype(np.uint16) * alpha + 127) // 255
    return _channels_first(np.concatenate((colour, alpha), axis=2).astype(np.uint8))


def resize_bytes(picture: Tensor, height: int, width: int) -> Tensor:
    """uint8 (C, h, w) -> uint8 (C, height, width), bicubic, low-passed when it shrinks."""
    if picture.shape[-2:] == (height, width):
        return picture
    batch = picture[None]
    if picture.device.type == "cpu":
        return functional.interpolate(batch, size=(height, width), mode="bicubic", antialias=True)[0]
    values = functional.interpolate(batch.float(), size=(height, width), mode="bicubic", antialias=True)
    return (values + 0.5).clamp_(0, 255).to(torch.uint8)[0]
