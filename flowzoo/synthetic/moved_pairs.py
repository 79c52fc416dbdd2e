"""Small pairs for the alignment experiment: a texture under an affine motion, and a disk of another one on it.

Both frames are rendered at four times the size and averaged, so that motion is a fraction of a pixel in any case; the
true flow is known everywhere, and what the disk hides in the neighbour is nowhere to be found there.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.synthetic.drawing import generator
from flowzoo.synthetic.textures import Textures

SUPERSAMPLING = 4


class MovedPair(NamedTuple):
    """reference and neighbour (3,H,W), 0..1; flow (2,H,W) from reference to neighbour, x then y, pixels."""

    reference: Tensor
    neighbour: Tensor
    flow: Tensor


def moved_pair(
    textures: Textures, pictures: range, seed: int, index: int, size: int = 24, motion: float = 2.0
) -> MovedPair:
    """Pair `index` of `seed`, size x size pixels.

    Args:
        textures: photographs.
        pictures: numbers of those that are used.
        seed, index: what is random follows from them.
        size: a side.
        motion: largest component of the background's translation, and of the disk's own, pixels.
    """
    rng = generator(seed, index)
    fine = SUPERSAMPLING * size
    ground, disk = (_crop(textures.photographs[pictures[int(rng.integers(len(pictures)))]], fine, rng) for _ in "ab")
    shift = rng.uniform(-motion, motion, 2) * 0.75
    # The linear part adds up to a quarter of the motion at the border.
    linear = rng.uniform(-1, 1, (2, 2)) * motion * 0.25 / size
    own = rng.uniform(-motion, motion, 2)
    centre, radius = rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0.15, 0.3) * size
    places = _grid(fine)  # pixels of the small frame, x then y
    middle = torch.full((2, 1, 1), (size - 1) / 2)
    matrix = torch.tensor(np.eye(2) + linear, dtype=torch.float32)
    move = torch.tensor(shift, dtype=torch.float32).view(2, 1, 1)
    back = torch.linalg.inv(matrix)
    origin = _times(back, places - middle - move) + middle  # of the neighbour's background, in the reference
    drift = torch.tensor(own, dtype=torch.float32).view(2, 1, 1)
    disk_at = torch.tensor(centre, dtype=torch.float32).view(2, 1, 1)
    reference = torch.where(_inside(places, disk_at, radius), disk, ground)
    neighbour = torch.where(
        _inside(places - drift, disk_at, radius), _read(disk, places - drift, size), _read(ground, origin, size)
    )
    coarse = F.avg_pool2d(places[None], SUPERSAMPLING)[0]
    background = _times(matrix, coarse - middle) + middle + move - coarse
    flow = torch.where(_inside(coarse, disk_at, radius), drift, background)
    small = F.avg_pool2d(torch.stack((reference, neighbour)), SUPERSAMPLING)
    return MovedPair(small[0], small[1], flow)


def _crop(picture: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """A grey piece of a photograph (3,side,side), three times the same."""
    height, width = picture.shape[1:]
    scale = min(1.0, min(height, width) / side)
    taken = math.floor(side * scale)
    top, left = int(rng.integers(height - taken + 1)), int(rng.integers(width - taken + 1))
    piece = picture[:, top : top + taken, left : left + taken].float().mean(dim=0, keepdim=True) / 255
    if taken != side:
        piece = F.interpolate(piece[None], (side, side), mode="bilinear", align_corners=False)[0]
    return piece.expand(3, -1, -1)


def _grid(fine: int) -> Tensor:
    """(2,fine,fine): x and y of the fine pixels' centres in pixels of the small frame."""
    steps = (torch.arange(fine) + 0.5) / SUPERSAMPLING - 0.5
    return torch.stack((steps.expand(fine, fine), steps[:, None].expand(fine, fine)))


def _times(matrix: Tensor, places: Tensor) -> Tensor:
    return torch.einsum("ij,jhw->ihw", matrix, places)


def _inside(places: Tensor, centre: Tensor, radius: float) -> Tensor:
    return (places - centre).square().sum(dim=0, keepdim=True) < radius**2


def _read(picture: Tensor, places: Tensor, size: int) -> Tensor:
    """The fine picture at places of the small frame, mirrored beyond its border."""
    grid = ((places + 0.5) * (2 / size) - 1).permute(1, 2, 0)[None]
    return F.grid_sample(picture[None], grid, mode="bicubic", padding_mode="reflection", align_corners=False)[0].clamp(
        0, 1
    )
