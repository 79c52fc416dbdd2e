"""Arrays and tensors: the public functions of this room take either and give back the kind they were given.

| | flow | image |
|---|---|---|
| NumPy array | (H,W,2) or (B,H,W,2) | (H,W), (H,W,C) or (B,H,W,C) |
| torch tensor | (2,H,W) or (B,2,H,W) | (H,W), (C,H,W) or (B,C,H,W) |
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from flowzoo.errors import InputError

Maps = TypeVar("Maps", np.ndarray, Tensor)
"""An array or a tensor: what goes in comes out."""


@dataclass(frozen=True)
class Kind:
    """What a value was before it became a (B,C,H,W) tensor.

    Attributes:
        array: a NumPy array, not a tensor.
        dimensions: 4 with a batch, 3 without, 2 without channels as well.
        dtype: torch's name of its type.
    """

    array: bool
    dimensions: int
    dtype: torch.dtype

    def back(self, maps: Tensor, dtype: torch.dtype | None = None) -> Any:
        """(B,C,H,W) as it was: layout, batch, and type (or `dtype`); whole numbers are rounded and limited."""
        if self.dimensions == 2:
            maps = maps[:, 0]
        return self._laid_out(_typed(maps, dtype or self.dtype), channels=self.dimensions > 2)

    def back_mask(self, maps: Tensor) -> Any:
        """(B,H,W) as it was, without channels."""
        return self._laid_out(maps, channels=False)

    def _laid_out(self, maps: Tensor, channels: bool) -> Any:
        if self.array and channels:
            maps = maps.permute(0, 2, 3, 1)
        if self.dimensions < 4:
            maps = maps[0]
        return np.ascontiguousarray(maps.detach().cpu().numpy()) if self.array else maps


def flow_in(name: str, flow: np.ndarray | Tensor) -> tuple[Tensor, Kind]:
    """Flow as (B,2,H,W) of at least float32, and what it was.

    Raises:
        InputError: it is neither an array nor a tensor, or not of a shape that flow has.
    """
    maps, kind = image_in(name, flow)
    if kind.dimensions == 2 or maps.shape[1] != 2:
        expected = "(H, W, 2) or (B, H, W, 2)" if kind.array else "(2, H, W) or (B, 2, H, W)"
        raise InputError(f"{name} has shape {tuple(flow.shape)}: flow has the shape {expected}")
    if not kind.dtype.is_floating_point:
        raise InputError(f"{name} is {kind.dtype}: flow is floating point, best float32")
    return maps, kind


def image_in(name: str, image: np.ndarray | Tensor) -> tuple[Tensor, Kind]:
    """An image or any maps as (B,C,H,W) of at least float32, and what they were.

    Raises:
        InputError: neither an array nor a tensor, or not two to four dimensions.
    """
    array = isinstance(image, np.ndarray)
    if isinstance(image, np.ndarray):
        if image.dtype.kind not in "fiub":
            raise InputError(f"{name} is {image.dtype}: give real numbers")
        maps = torch.from_numpy(_native(image))
    elif isinstance(image, Tensor):
        maps = image
    else:
        raise InputError(f"{name} is {type(image).__name__}: give a NumPy array or a torch tensor")
    if not 2 <= maps.dim() <= 4 or 0 in maps.shape:
        raise InputError(f"{name} has shape {tuple(image.shape)}: give (H, W), an image, or a batch of images")
    kind = Kind(array, maps.dim(), maps.dtype)
    if maps.dim() == 2:
        maps = maps[None, None]
    else:
        maps = maps if maps.dim() == 4 else maps[None]
        maps = maps.permute(0, 3, 1, 2) if array else maps
    return maps if maps.dtype in (torch.float32, torch.float64) else maps.float(), kind


def _native(array: np.ndarray) -> np.ndarray:
    """In this machine's byte order, of a type that torch knows, and without negative strides."""
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
    return np.ascontiguousarray(array, np.float64 if wide else array.dtype.newbyteorder("="))


def same_size(name: str, maps: Tensor, other_name: str, other: Tensor) -> None:
    """Both must have one height, width and batch.

    Raises:
        InputError: they differ.
    """
    if maps.shape[-2:] != other.shape[-2:] or maps.shape[0] != other.shape[0]:
        raise InputError(
            f"{name} is {_size(maps)} but {other_name} is {_size(other)}: give one size (see flowzoo.flow.resize)"
        )


def _size(maps: Tensor) -> str:
    batch = "" if maps.shape[0] == 1 else f"{maps.shape[0]} times "
    return f"{batch}{maps.shape[-1]}x{maps.shape[-2]}"


def _typed(maps: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype.is_floating_point:
        return maps.to(dtype)
    if dtype == torch.bool:
        return maps >= 0.5
    limits = torch.iinfo(dtype)
    return maps.round().clamp(limits.min, limits.max).to(dtype)
