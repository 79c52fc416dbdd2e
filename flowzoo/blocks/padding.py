"""Padding of images to multiples, and cutting it off again."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Side = Literal["sintel", "kitti"]


@dataclass(frozen=True)
class Padding:
    """Columns and rows that repeat the image's border: (left, right, top, bottom)."""

    left: int
    right: int
    top: int
    bottom: int

    def pad(self, images: Tensor) -> Tensor:
        """(B,C,H,W) with the border repeated."""
        if not any((self.left, self.right, self.top, self.bottom)):
            return images
        return F.pad(images, (self.left, self.right, self.top, self.bottom), mode="replicate")

    def cut(self, maps: Tensor) -> Tensor:
        """What `pad` has added, off again."""
        height, width = maps.shape[2:]
        return maps[..., self.top : height - self.bottom, self.left : width - self.right]


def padding_to(size: tuple[int, int], multiple: int, side: Side, least: int) -> Padding:
    """What makes both sides of `size` (height, width) multiples, and at least `least`.

    Args:
        side: where it goes: on both sides, the smaller half on the left and at the top ("sintel"), or all rows at the
            bottom ("kitti").
    """
    rows, columns = (max(least, -(-length // multiple) * multiple) - length for length in size)
    top = rows // 2 if side == "sintel" else 0
    return Padding(columns // 2, columns - columns // 2, top, rows - top)


def pad_reflected(maps: Tensor, multiple: int) -> Tensor:
    """(...,H,W) grown at the bottom and right by reflection to multiples; frames of any size, also of one pixel.

    The border pixel is not repeated. Cut the result to the size times the network's scale.
    """
    for dim in (-2, -1):
        side = maps.shape[dim]
        missing = -side % multiple
        if missing:
            period = max(1, 2 * (side - 1))
            places = torch.arange(side + missing, device=maps.device) % period
            maps = maps.index_select(dim, torch.where(places < side, places, period - places))
    return maps
