"""Turns the layers of a scene into pictures with transparency, and samples them where a motion says."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from flowzoo.synthetic.motion import Drive, Motion, ThinPlate, Waves
from flowzoo.synthetic.scene import NO_BLUR, LayerPlan, MotionPlan
from flowzoo.synthetic.shapes import polygon_distance, signed_distance
from flowzoo.synthetic.textures import Cutouts, Textures, resize_bytes

FINE_OBJECT = 1.6  # layer pixels per frame pixel of objects
SHAPE_SIDE = 160  # grid of the distance of a drawn shape, at most; it is then enlarged

Array = NDArray[np.float64]
Window = tuple[int, int, int, int]  # top, left, height, width


@dataclass
class Picture:
    """A layer ready to be sampled.

    values: (3, h, w) RGB of a background, or (5, h, w): RGB times alpha, alpha, and the alpha without motion blur,
        which decides whose flow a pixel has. Range 0..1.
    locate: (2, 3), pixels of the second frame to pixels of `values` (first pixel centre at 0).
    tone: (5, 3), see `Layer.tone`.
    mean: (3,), of the colours.
    """

    values: Tensor
    locate: Array
    tone: Array
    mean: Tensor
    plan: LayerPlan


def build(plan: LayerPlan, textures: Textures, cutouts: Cutouts | None, drawn: Tensor | None) -> Picture:
    """The picture of one layer, where textures, cut-outs and what was `drawn` of it (see `outline`) already are."""
    if plan.kind == "background":
        piece = _piece(plan, textures, plan.fine)
        turned = plan.place[:, :2] @ np.array(plan.blur)
        values = _smear(_unit(piece), (turned[0], turned[1]), plan.fine)
        return Picture(values, _to_picture(plan, values, 0), _tone(plan, plan.contrast), _mean(piece), plan)
    if plan.kind == "cutout" and cutouts is not None:
        values, tone, mean = _cutout(plan, cutouts)
    elif drawn is not None:
        values, tone, mean = _shape(plan, textures, drawn)
    else:
        raise ValueError(f"a layer of kind {plan.kind!r} needs cut-outs or its outline")
    reach = max(abs(plan.blur[0]), abs(plan.blur[1])) * FINE_OBJECT / 2
    margin = 2 + math.ceil(reach)
    values = functional.pad(values, (margin, margin, margin, margin))
    if plan.blur != NO_BLUR:
        turned = plan.place[:, :2] @ np.array(plan.blur)
        values = torch.cat((_smear(values[:4], (turned[0], turned[1]), FINE_OBJECT), values[4:]))
    return Picture(values, _to_picture(plan, values, margin), tone, mean, plan)


def _to_picture(plan: LayerPlan, values: Tensor, margin: int) -> Array:
    """`place`, in pixels of the picture inside its margin, whose first pixel centre is at 0."""
    height, width = values.shape[-2] - 2 * margin, values.shape[-1] - 2 * margin
    scale = np.array((width / plan.size[1], height / plan.size[0]))
    locate = plan.place * scale[:, None]
    locate[:, 2] += margin - 0.5
    return np.asarray(locate)


def _fine_size(plan: LayerPlan, fine: float) -> tuple[int, int]:
    return max(2, round(plan.size[0] * fine)), max(2, round(plan.size[1] * fine))


def _resampled(picture: Tensor, plan: LayerPlan, fine: float) -> Tensor:
    """uint8 (C, h, w) -> the size of the layer, with the detail of one pixel per frame pixel, or `sharpness` of it.

    Bilinear sampling of a picture that was enlarged again is as sharp as bicubic sampling, and faster.
    """
    height, width = picture.shape[-2:]
    rows, columns = (max(2, round(side * plan.sharpness)) for side in plan.size)
    if rows < height and columns < width:
        picture = resize_bytes(picture, rows, columns)
    return resize_bytes(picture, *_fine_size(plan, fine))


def _piece(plan: LayerPlan, textures: Textures, fine: float) -> Tensor:
    """A piece of a texture, uint8 (3, h, w)."""
    procedural = not textures.photographs or (plan.procedural and len(textures.procedural) > 0)
    pool = textures.procedural if procedural else textures.photographs
    texture = pool[min(int(plan.source * len(pool)), len(pool) - 1)]
    height, width = texture.shape[-2:]
    zoom = min(plan.zoom, height / plan.size[0], width / plan.size[1])
    rows = min(max(2, round(plan.size[0] * zoom)), height)
    columns = min(max(2, round(plan.size[1] * zoom)), width)
    top, left = round(plan.corner[0] * (height - rows)), round(plan.corner[1] * (width - columns))
    piece = texture[:, top : top + rows, left : left + columns]
    return _resampled(piece.flip(2) if plan.flip else piece, plan, fine)


def _unit(piece: Tensor) -> Tensor:
    return piece.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)


def _mean(piece: Tensor) -> Tensor:
    """(3,), of the colours of a uint8 picture."""
    return piece[:3, ::8, ::8].float().mean(dim=(1, 2)) / 255


def _tone(plan: LayerPlan, contrast: float) -> Array:
    """(5, 3), see `Layer.tone`: gain, contrast and fog of a layer."""
    gain, clear = np.array(plan.gain), 1 - plan.fog_share
    rows = gain * contrast * clear, gain, 1 - contrast, clear, np.array(plan.fog) * plan.fog_share
    return np.stack([np.broadcast_to(row, 3) for row in rows])


def _cutout(plan: LayerPlan, cutouts: Cutouts) -> tuple[Tensor, Array, Tensor]:
    """(5, h, w); the cut-out is fitted to the longer side, whatever the aspect of the plan."""
    picture = cutouts.images[min(int(plan.source * len(cutouts.images)), len(cutouts.images) - 1)]
    height, width = picture.shape[-2:]
    scale = max(plan.size) / max(height, width)
    before = np.array((plan.size[1], plan.size[0])) / 2
    plan.size = height * scale, width * scale
    plan.place = plan.place.copy()
    plan.place[:, 2] += np.array((plan.size[1], plan.size[0])) / 2 - before
    if plan.flip:
        picture = picture.flip(2)
    values = _unit(_resampled(picture, plan, FINE_OBJECT))
    return torch.cat((values, values[3:4])), _tone(plan, 1.0), torch.zeros(3, device=values.device)


def outline(plan: LayerPlan) -> Tensor | None:
    """Of a drawn shape, its signed distance (rows, columns), positive inside, in units of half its longer side.

    On the CPU: it is up to two hundred operations on a small grid, which a GPU takes as long to be told as a CPU to do.
    """
    if plan.kind in ("background", "cutout"):
        return None
    height, width = _fine_size(plan, FINE_OBJECT)
    shrink = min(1.0, SHAPE_SIDE / max(height, width))
    rows, columns = max(2, round(height * shrink)), max(2, round(width * shrink))
    if plan.corners is None:
        return signed_distance(plan.kind, plan.seed, rows, columns, plan.thickness / (max(plan.size) / 2))
    return _outline(plan, plan.corners, rows, columns)


def _shape(plan: LayerPlan, textures: Textures, drawn: Tensor) -> tuple[Tensor, Array, Tensor]:
    """(5, h, w): a texture inside a drawn outline."""
    height, width = _fine_size(plan, FINE_OBJECT)
    half = max(plan.size) / 2
    distance = drawn[None, None]
    if drawn.shape != (height, width):
        distance = functional.interpolate(distance, size=(height, width), mode="bilinear", align_corners=False)
    # alpha rises over `softness` pixels of the frame; thin strokes keep their coverage
    alpha = (distance[0] * (half / plan.softness) + 0.5).clamp_(0, 1)
    piece = _piece(plan, textures, FINE_OBJECT)
    return torch.cat((_unit(piece).mul_(alpha), alpha, alpha)), _tone(plan, plan.contrast), _mean(piece)


def _outline(plan: LayerPlan, corners: Array, rows: int, columns: int) -> Tensor:
    """Signed distance (rows, columns) to the corners, in units of half the longer side."""
    x = (torch.arange(columns) + 0.5) * (plan.size[1] / columns)
    y = (torch.arange(rows) + 0.5) * (plan.size[0] / rows)
    grid_x, grid_y = x.expand(rows, columns), y[:, None].expand(rows, columns)
    return polygon_distance(grid_x, grid_y, corners) / (max(plan.size) / 2)


def _smear(values: Tensor, blur: tuple[float, float], fine: float) -> Tensor:
    """The mean over a line of `blur` frame pixels, centred: repeated averages of two shifted copies.

    What is shifted out at one border comes in at the other: objects have an empty margin, backgrounds one that is
    hardly seen.
    """
    length = math.hypot(*blur) * fine
    if length < 1.5:
        return values
    for step in range(max(1, math.ceil(math.log2(length)))):
        part = fine / 2.0 ** (step + 1)
        dx, dy = round(blur[0] * part), round(blur[1] * part)
        if dx == 0 and dy == 0:
            continue
        one = values.roll((dy - dy // 2, dx - dx // 2), dims=(1, 2))
        values = one.add_(values.roll((-(dy // 2), -(dx // 2)), dims=(1, 2))).mul_(0.5)
    return values


@dataclass
class Layer:
    """The same layer of every scene of a batch, ready to composite.

    values (B, C, h, w); locate (B, 2, 3) to grid_sample coordinates; tones (B, 5, 3) and means (B, 3) of colours;
    windows of both frames outside of which the layer is empty.
    """

    values: Tensor
    locate: Tensor
    tones: Tensor
    means: Tensor
    motion: Motion
    windows: tuple[Window, Window]
    mirrored: bool

    @cached_property
    def tone(self) -> Tensor:
        """(B, 2, 3, 1, 1): what colours are multiplied with, and what is added to them.

        `tones` are: the factor; gain, missing contrast and share that is no fog, which the mean is multiplied with; and
        the fog. The mean is a number that the device alone knows.
        """
        factor, gain, missing, clear, fog = self.tones.unbind(1)
        offset = gain * self.means.to(gain.dtype) * missing * clear + fog
        return torch.stack((factor, offset), dim=1).float()[..., None, None]

    def sample(self, points: Tensor, *, background: bool) -> Tensor:
        """Values (B, C, h, w) at points (B or 1, 2, h, w) of the second frame."""
        m = self.locate[:, :, :, None, None]
        grid = torch.stack((_affine(m, 0, points), _affine(m, 1, points)), dim=1).permute(0, 2, 3, 1)
        mode = "reflection" if background and self.mirrored else "zeros"
        found = functional.grid_sample(self.values, grid, padding_mode=mode, align_corners=False)
        colour = found[:, :3].mul_(self.tone[:, 0])
        if background:
            colour.add_(self.tone[:, 1])
        else:
            colour.addcmul_(found[:, 3:4], self.tone[:, 1])
        return found

    def inside(self, points: Tensor) -> Tensor:
        """(B, h, w): whether points of the second frame lie on the picture."""
        m = self.locate[:, :, :, None, None]
        return (_affine(m, 0, points).abs() <= 1) & (_affine(m, 1, points).abs() <= 1)


def _affine(m: Tensor, row: int, points: Tensor) -> Tensor:
    return torch.addcmul(points[:, 0] * m[:, row, 0] + m[:, row, 2], points[:, 1], m[:, row, 1])


def stack(pictures: list[Picture], size: tuple[int, int], *, whole: bool) -> Layer:
    """Pictures of one slot of a batch as one layer; `whole`: composite over the whole frame (for batches).

    Its small tables are on the CPU (see `transfer`).
    """
    height = max(picture.values.shape[-2] for picture in pictures)
    width = max(picture.values.shape[-1] for picture in pictures)
    values, locates = [], []
    for picture in pictures:
        rows, columns = picture.values.shape[-2:]
        padded = picture.values
        if (rows, columns) != (height, width):
            padded = functional.pad(padded, (0, width - columns, 0, height - rows))
        values.append(padded)
        locate = picture.locate.copy()
        locate[:, 2] += 0.5
        locate *= np.array((2 / width, 2 / height))[:, None]
        locate[:, 2] -= 1
        locates.append(locate)
    frame = 0, 0, *size
    plans = [picture.plan for picture in pictures]
    windows = (frame, frame)
    if not whole and plans[0].kind != "background":
        windows = _windows(pictures[0], size)
    return Layer(
        torch.stack(values) if len(values) > 1 else values[0][None],
        torch.tensor(np.array(locates), dtype=torch.float32),
        torch.tensor(np.array([picture.tone for picture in pictures])),
        torch.stack([picture.mean for picture in pictures]),
        motion_of([plan.motion for plan in plans]),
        windows,
        plans[0].mirrored,
    )


def _windows(picture: Picture, size: tuple[int, int]) -> tuple[Window, Window]:
    """The windows that the picture can touch in the first and in the second frame."""
    rows, columns = picture.values.shape[-2:]
    corners = np.array(((-1, -1, 1), (columns, -1, 1), (-1, rows, 1), (columns, rows, 1)), dtype=np.float64).T
    place = np.eye(3)
    place[:2] = picture.locate
    second = np.linalg.inv(place) @ corners
    first = np.linalg.inv(picture.plan.motion.matrix) @ second
    return (
        _window(first[:2] / first[2], picture.plan.motion.reach() + 1, size),
        _window(second[:2], 1.0, size),
    )


def _window(corners: Array, margin: float, size: tuple[int, int]) -> Window:
    low, high = np.floor(corners.min(axis=1) - margin), np.ceil(corners.max(axis=1) + margin)
    left, top = (int(min(max(value, 0), 1e6)) for value in low)
    right, bottom = int(min(high[0] + 1, size[1])), int(min(high[1] + 1, size[0]))
    return top, left, max(bottom - top, 0), max(right - left, 0)


def motion_of(plans: list[MotionPlan]) -> Motion:
    """The motions of a batch, on the CPU; scenes without waves, spline or drive take part with zeros."""

    def tensor(values: object) -> Tensor:
        return torch.tensor(np.asarray(values), dtype=torch.float32)

    bending: Waves | ThinPlate | None = None
    waves = [plan.waves for plan in plans]
    count = max((len(entry) for entry in waves if entry is not None), default=0)
    if any(plan.knots is not None for plan in plans):
        filled = next(plan.knots for plan in plans if plan.knots is not None)
        still = filled * np.array((1, 1, 0, 0))
        knots = tensor([plan.knots if plan.knots is not None else still for plan in plans])
        bending = ThinPlate.through(knots[:, :, :2], knots[:, :, 2:])
    elif count:
        padded = np.zeros((len(plans), count, 5))
        for row, entry in zip(padded, waves, strict=True):
            if entry is not None:
                row[: len(entry)] = entry
        table = tensor(padded)
        bending = Waves(table[:, :, :2], table[:, :, 2:4], table[:, :, 4])
    drive = None
    if any(plan.drive is not None for plan in plans):
        rows = tensor([plan.drive if plan.drive is not None else np.zeros(7) for plan in plans])
        drive = Drive(rows[:, :2], rows[:, 2], rows[:, 3:6], rows[:, 6])
    return Motion(tensor([plan.matrix for plan in plans]), bending, drive)
