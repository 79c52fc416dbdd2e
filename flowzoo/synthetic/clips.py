"""Short synthetic clips: photographs under smooth camera motion, with objects that move on their own.

The middle frame shows its photograph pixel by pixel, not resampled, so that its detail is a photograph's; the others
are read bicubically. Everything follows from (seed, index).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from flowzoo.errors import InputError
from flowzoo.synthetic.drawing import generator
from flowzoo.synthetic.shapes import signed_distance
from flowzoo.synthetic.textures import Textures, resize_bytes

KINDS = ("polygon", "blob", "ragged", "bar")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClipSettings:
    """Lengths are pixels of the rendered frames, motions those between neighbouring frames.

    Attributes:
        frames: how many, odd; the middle one is the reference.
        objects: fewest and most moving objects.
        motion: smallest and largest translation, log-uniform.
        still: share of layers that do not move.
        turn: largest rotation, radians.
        zoom: largest change of scale, as a factor's logarithm.
        acceleration: largest change of the translation from frame to frame, as a share of it.
        reduction: smallest and largest factor by which a photograph is reduced first, which makes it sharper.
    """

    frames: int = 5
    objects: tuple[int, int] = (0, 3)
    motion: tuple[float, float] = (0.3, 20.0)
    still: float = 0.08
    turn: float = 0.02
    zoom: float = 0.02
    acceleration: float = 0.2
    reduction: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % 2 == 0:
            raise InputError(f"a clip has an odd number of frames, got {self.frames}")
        if not 0 <= self.objects[0] <= self.objects[1] <= 20:
            raise InputError(f"clip setting 'objects' must be fewest,most within 0 to 20, not {self.objects}")
        if not 0 < self.motion[0] <= self.motion[1] or not 0 < self.reduction[0] <= self.reduction[1] <= 1:
            raise InputError("clip settings: 'motion' takes two lengths above 0, 'reduction' two factors within 0 to 1")


def render_clip(textures: Textures, seed: int, index: int, size: tuple[int, int], settings: ClipSettings) -> Tensor:
    """Clip `index` of `seed`: (T,3,H,W) float RGB in 0..1, `size` = (H, W).

    Raises:
        InputError: no photograph is large enough.
    """
    rng = generator(seed, index)
    background, top, left = _photograph(textures, rng, size, settings)
    middle = np.array((left + (size[1] - 1) / 2, top + (size[0] - 1) / 2))
    corner = np.array((left, top), dtype=np.float64)
    camera = _Path(rng, settings)
    layers = [_Layer(background, None, corner, middle - corner, camera)]
    for _ in range(int(rng.integers(settings.objects[0], settings.objects[1] + 1))):
        layers.append(_object(textures, rng, size, settings, camera))
    steps = range(-(settings.frames // 2), settings.frames // 2 + 1)
    return torch.stack([_frame(layers, step, size) for step in steps]).clamp_(0, 1)


class _Path:
    """How a layer moves: translation with acceleration, rotation and zoom about a centre.

    `onto` is a path that this one adds to: what stands in a moving camera's view.
    """

    def __init__(self, rng: np.random.Generator, settings: ClipSettings, onto: "_Path | None" = None) -> None:
        low, high = (math.log(value) for value in settings.motion)
        length = 0.0 if rng.random() < settings.still else math.exp(rng.uniform(low, high))
        angle = rng.uniform(0, 2 * math.pi)
        self.velocity: Array = length * np.array((math.cos(angle), math.sin(angle)))
        self.acceleration: Array = length * settings.acceleration * rng.uniform(-1, 1, 2)
        share = 0.0 if length == 0 else rng.uniform(0, 1)
        self.turn = share * rng.uniform(-settings.turn, settings.turn)
        self.zoom = share * rng.uniform(-settings.zoom, settings.zoom)
        if onto is not None and rng.random() < 0.5:
            self.velocity = self.velocity + onto.velocity

    def back(self, step: int) -> tuple[Array, Array]:
        """Matrix (2,2) and shift (2,): from places of frame `step`, about the centre, to those of the middle frame."""
        shift = self.velocity * step + self.acceleration * step * step / 2
        angle, scale = -self.turn * step, math.exp(-self.zoom * step)
        matrix = scale * np.array(((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))))
        return matrix, -matrix @ shift


@dataclass
class _Layer:
    """A picture in the middle frame; `corner` (x, y) is the picture's pixel at the frame's pixel (0, 0)."""

    picture: Tensor  # (3,h,w), 0..1
    alpha: Tensor | None  # (1,h,w), or None for a background
    corner: Array
    centre: Array  # x, y of the frame that it turns about
    path: _Path


def _photograph(
    textures: Textures, rng: np.random.Generator, size: tuple[int, int], settings: ClipSettings
) -> tuple[Tensor, int, int]:
    """A photograph (3,h,w), 0..1, perhaps flipped, and the top left corner of the piece that the frame shows."""
    height, width = size
    fitting = [entry for entry in textures.photographs if entry.shape[1] >= height and entry.shape[2] >= width]
    if not fitting:
        raise InputError(f"no photograph has {width}x{height} pixels: give larger ones, or render smaller clips")
    picture = fitting[int(rng.integers(len(fitting)))]
    least = max(height / picture.shape[1], width / picture.shape[2])
    factor = max(least, rng.uniform(*settings.reduction))
    tall, wide = (max(side, round(whole * factor)) for side, whole in zip(size, picture.shape[1:], strict=True))
    picture = resize_bytes(picture, tall, wide).float().div_(255)
    if rng.random() < 0.5:
        picture = picture.flip(2)
    return picture, int(rng.integers(tall - height + 1)), int(rng.integers(wide - width + 1))


def _object(
    textures: Textures, rng: np.random.Generator, size: tuple[int, int], settings: ClipSettings, camera: _Path
) -> _Layer:
    picture, top, left = _photograph(textures, rng, size, settings)
    side = math.exp(rng.uniform(math.log(0.15), math.log(0.7))) * min(size)
    tall, wide = (max(8, round(side * rng.uniform(0.5, 1))) for _ in range(2))
    distance = signed_distance(KINDS[int(rng.integers(len(KINDS)))], int(rng.integers(2**31)), tall, wide, 0.2)
    # An edge of about one pixel.
    alpha = (distance * max(tall, wide) / 2 + 0.5).clamp(0, 1)[None]
    piece = picture[:, top : top + tall, left : left + wide]
    place = np.array((rng.uniform(-0.3, 1) * size[1], rng.uniform(-0.3, 1) * size[0])).round()
    centre = place + np.array((piece.shape[2] - 1, piece.shape[1] - 1)) / 2
    return _Layer(piece, alpha[:, : piece.shape[1], : piece.shape[2]], -place, centre, _Path(rng, settings, camera))


def _frame(layers: list[_Layer], step: int, size: tuple[int, int]) -> Tensor:
    frame = torch.zeros(3, *size)
    for layer in layers:
        matrix, shift = layer.path.back(step)
        places = _places(layer, matrix, shift, size)
        colour = _read(layer.picture, places, step == 0, "reflection" if layer.alpha is None else "border")
        if layer.alpha is None:
            frame = colour
        else:
            frame = torch.lerp(frame, colour, _read(layer.alpha, places, step == 0, "zeros"))
    return frame


def _places(layer: _Layer, matrix: Array, shift: Array, size: tuple[int, int]) -> Tensor:
    """(H,W,2) pixels of the layer's picture, x then y, that the frame's pixels show."""
    x = torch.arange(size[1], dtype=torch.float64).expand(*size)
    y = torch.arange(size[0], dtype=torch.float64)[:, None].expand(*size)
    grid = torch.stack((x, y), dim=-1) - torch.from_numpy(layer.centre)
    moved = grid @ torch.from_numpy(matrix).t() + torch.from_numpy(shift + layer.centre + layer.corner)
    return moved.float()


def _read(picture: Tensor, places: Tensor, whole: bool, padding: str) -> Tensor:
    """(C,h,w) at (H,W,2); `whole` says that all places are whole numbers, where nothing is interpolated."""
    scale = torch.tensor((2 / picture.shape[2], 2 / picture.shape[1]))
    grid = ((places + 0.5) * scale - 1)[None]
    mode = "nearest" if whole else "bicubic"
    return functional.grid_sample(picture[None], grid, mode=mode, padding_mode=padding, align_corners=False)[0]
