"""Zoom, squeeze, rotation, flips and crop of a pair, with the flow that belongs to the result.

Both frames are sampled through affine maps from pixels of the crop to pixels of the source: `first` for the first
frame, `second` for the second. A point p of the crop shows the source point first(p); it moves to first(p) + flow,
which the new second frame shows at second^-1 of that. The new flow is second^-1(first(p) + flow(first(p))) - p.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from flowzoo.augmentation.sample import TrainingSample
from flowzoo.augmentation.settings import AugmentationSettings
from flowzoo.errors import InputError

JUMP = 0.5  # pixels; flow that differs more between neighbours is not interpolated: the nearest pixel decides

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SpatialPlan:
    """Affine maps (3, 3) from pixels of the crop (height, width) to pixels of either source frame."""

    first: Array
    second: Array
    crop: tuple[int, int]

    @property
    def plain(self) -> bool:
        """Whether both maps only pick, and perhaps mirror, pixels."""
        whole = np.array_equal(self.first, np.round(self.first)) and np.array_equal(self.first, self.second)
        return bool(whole and self.first[0, 1] == 0 == self.first[1, 0] and abs(np.diag(self.first)).max() == 1)


def draw_spatial(
    rng: np.random.Generator,
    settings: AugmentationSettings,
    size: tuple[int, int],
    crop: tuple[int, int],
    strength: float = 1.0,
) -> SpatialPlan:
    """A plan for frames of `size` (height, width); the crop of the first frame always lies inside the frame.

    `strength` scales the relative motion of the second frame.

    Raises:
        InputError: the crop is larger than the frame and `zoom` does not allow to enlarge it that much.
    """
    height, width = size
    rows, columns = crop
    turned = rng.random() < settings.spatial
    zoom, squeeze, angle = 1.0, 1.0, 0.0
    if turned:
        zoom = math.exp(rng.uniform(math.log(settings.zoom[0]), math.log(settings.zoom[1])))
        squeeze = math.exp(rng.uniform(-1, 1) * math.log(settings.squeeze))
        angle = math.radians(rng.uniform(-1, 1) * settings.rotation)
    flip_x = -1.0 if rng.random() < settings.horizontal_flip else 1.0
    flip_y = -1.0 if rng.random() < settings.vertical_flip else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array(((cos, -sin), (sin, cos))) / zoom @ np.diag((flip_x / squeeze, flip_y * squeeze))
    # Half of the bounding box of the crop in the source must fit half of the source.
    reach = np.abs(linear) @ np.array((columns - 1, rows - 1)) / 2
    room = np.array((width - 1, height - 1)) / 2
    excess = float((reach / np.maximum(room, 1e-9)).max())
    if excess > 1:
        check_crop(settings, size, crop)
        linear, reach = linear / excess, reach / excess
    play = np.maximum(room - reach, 0)
    if settings.translation is not None:
        play = np.minimum(play, np.abs(linear) @ np.array((columns, rows)) * settings.translation)
    centre = room + rng.uniform(-1, 1, 2) * play
    middle = np.array((columns - 1, rows - 1)) / 2
    first = _affine(linear, centre - linear @ middle)
    if np.allclose(np.abs(linear), np.eye(2), atol=0, rtol=0):
        first[:2, 2] = np.round(first[:2, 2])
    return SpatialPlan(first, first @ _relative(rng, settings, crop, strength), crop)


def check_crop(settings: AugmentationSettings, size: tuple[int, int], crop: tuple[int, int]) -> None:
    """A crop must fit frames of `size` (height, width), unless `zoom` may enlarge them.

    Raises:
        InputError: it does not.
    """
    (height, width), (rows, columns) = size, crop
    if max(settings.zoom) <= 1 and not (columns <= width and rows <= height):
        raise InputError(f"a crop of {columns}x{rows} does not fit frames of {width}x{height}: choose a smaller crop")


def _affine(linear: Array, shift: Array) -> Array:
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, shift
    return matrix


def _relative(
    rng: np.random.Generator, settings: AugmentationSettings, crop: tuple[int, int], strength: float
) -> Array:
    amounts = np.array(
        (
            settings.relative_translation * crop[1],
            settings.relative_translation * crop[0],
            settings.relative_zoom,
            math.radians(settings.relative_rotation),
        )
    )
    draws = rng.uniform(-1, 1, 4) if settings.relative_draw == "uniform" else rng.standard_normal(4)
    if not amounts.any() or strength == 0:
        return np.eye(3)
    shift_x, shift_y, zoom, angle = amounts * draws * strength
    scale = math.exp(-zoom)
    linear = scale * np.array(((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))))
    middle = np.array((crop[1] - 1, crop[0] - 1)) / 2
    return _affine(linear, middle - linear @ middle + (shift_x, shift_y))


def transform(sample: TrainingSample, plan: SpatialPlan) -> TrainingSample:
    """The pair seen through `plan`, float32 frames (3, *crop) and flow in pixels of the crop.

    The flow of a pixel without ground truth is 0 and not valid; so is that of a pixel outside the source.
    """
    if plan.plain:
        first, second = _picked(sample.first, plan.first, plan.crop), _picked(sample.second, plan.first, plan.crop)
    else:
        first = _sampled(sample.first.float(), plan.first, plan.crop)
        second = _sampled(sample.second.float(), plan.second, plan.crop)
    flow, valid = _transformed_flow(sample, plan)
    labels = _transformed_map(sample, sample.labels, plan)
    reverse = _transformed_map(sample, sample.reverse, SpatialPlan(plan.second, plan.first, plan.crop))
    return TrainingSample(first, second, flow, valid, sample.sparse, labels, reverse)


def _transformed_map(sample: TrainingSample, flow_and_mask: Tensor | None, plan: SpatialPlan) -> Tensor | None:
    """A dense flow with its mask (3, H, W), of the frame that `plan` calls the first one."""
    if flow_and_mask is None:
        return None
    other = dataclasses.replace(sample, flow=flow_and_mask[:2], valid=flow_and_mask[2] > 0, sparse=False)
    flow, valid = _transformed_flow(other, plan)
    return torch.cat((flow, valid[None]))


def _transformed_flow(sample: TrainingSample, plan: SpatialPlan) -> tuple[Tensor, Tensor]:
    if plan.plain:
        signs = sample.flow.new_tensor((plan.first[0, 0], plan.first[1, 1]))[:, None, None]
        flow, valid = _picked(sample.flow, plan.first, plan.crop), _picked(sample.valid[None], plan.first, plan.crop)[0]
        return torch.where(valid, flow * signs, 0.0), valid
    return _splatted(sample, plan) if sample.sparse else _dense(sample, plan)


def _picked(values: Tensor, matrix: Array, crop: tuple[int, int]) -> Tensor:
    """The crop of (C, H, W) by slicing and mirroring."""
    rows, columns = crop
    left, top = int(matrix[0, 2]), int(matrix[1, 2])
    mirrored = [axis for axis, row in ((2, 0), (1, 1)) if matrix[row, row] < 0]
    left -= columns - 1 if 2 in mirrored else 0
    top -= rows - 1 if 1 in mirrored else 0
    part = values[:, top : top + rows, left : left + columns]
    return part.flip(mirrored) if mirrored else part


def planes(rows: Tensor, crop: tuple[int, int]) -> Tensor:
    """r[0] * x + r[1] * y + r[2] at the pixels of the crop: r (B, k, 3) float64 -> (B, k, rows, columns) float32."""
    x = torch.arange(crop[1], dtype=torch.float64, device=rows.device) * rows[..., :1]
    y = torch.arange(crop[0], dtype=torch.float64, device=rows.device) * rows[..., 1:2] + rows[..., 2:]
    return x.float()[..., None, :] + y.float()[..., None]


def crop_grid(maps: Tensor, crop: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Where the pixels of crops are in sources of `size` (height, width): what grid_sample takes, (B, *crop, 2).

    That is from -1, the outer border of the first pixel, to 1, that of the last one (align_corners=False).

    Args:
        maps: (B, 2, 3) float64, the upper rows of affine maps from pixels of the crop to pixels of the source.
    """
    # No constants are made on the device: a copy there would wait for what the device still has to do.
    rows = []
    for row, side in zip(maps.unbind(1), (size[1], size[0]), strict=True):
        scaled = row * (2 / side)
        rows.append(torch.cat((scaled[:, :2], scaled[:, 2:] + (1 / side - 1)), dim=1))
    return planes(torch.stack(rows, dim=1), crop).permute(0, 2, 3, 1).contiguous()


def _rows(matrix: NDArray[Any], device: torch.device) -> Tensor:
    """The upper rows of a (3, 3) map, (1, 2, 3)."""
    return torch.from_numpy(matrix[None, :2].copy()).to(device)


def _sampled(values: Tensor, matrix: Array, crop: tuple[int, int]) -> Tensor:
    """(C, H, W) float at the crop, bilinear, borders replicated."""
    height, width = values.shape[-2:]
    return found(values[None], crop_grid(_rows(matrix, values.device), crop, (height, width)), "bilinear")[0]


def _dense(sample: TrainingSample, plan: SpatialPlan) -> tuple[Tensor, Tensor]:
    height, width = sample.flow.shape[-2:]
    device = sample.flow.device
    grid = crop_grid(_rows(plan.first, device), plan.crop, (height, width))
    motion = _rows(relative_map(plan.first, plan.second), device)
    turn = _rows(np.linalg.inv(plan.second), device)[..., :2]
    flow, valid = dense_flow(sample.flow[None], sample.valid[None], grid, motion, turn)
    return flow[0], valid[0]


def relative_map(own: Array, other: Array) -> Array:
    """other^-1(own(p)) - p, (3, 3): the part of a crop's flow that does not depend on the source's."""
    difference: Array = np.linalg.inv(other) @ own - np.eye(3)
    return difference


def dense_flow(flow: Tensor, valid: Tensor, grid: Tensor, motion: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolates flow inside surfaces; at motion edges and beside invalid pixels the nearest pixel decides.

    Args:
        flow, valid: (B, 2, H, W), pixels of the sources, and (B, H, W) bool.
        grid: (B, h, w, 2) of the frames that the flow starts from, see `crop_grid`.
        motion: (B, 2, 3) float64, see `relative_map`.
        turn: (B, 2, 2) float64, the linear part of the other frames' inverse maps.

    Returns:
        Flow (B, 2, h, w) in pixels of the crop, 0 where unknown, and where it is known (B, h, w).
    """
    (height, width), (rows, columns) = flow.shape[-2:], grid.shape[1:3]
    known = torch.cat((torch.where(valid[:, None], flow, 0.0), valid[:, None].float()), dim=1)
    smooth = found(known, grid, "bilinear")
    nearest = found(known, grid, "nearest")
    # The edge of pixel (x, y) is the one between it and (x+1, y+1).
    before = torch.stack((grid[..., 0] - 1 / width, grid[..., 1] - 1 / height), dim=3)
    edge = (found(_edges(known[:, :2]), before, "nearest") > 0) | (smooth[:, 2:] < 0.9999)
    there = torch.where(edge, nearest[:, :2], smooth[:, :2])
    keep = (nearest[:, 2] > 0.5) & (grid.abs().amax(dim=3) <= 1)
    # second^-1(first(p) + flow) - p: an affine function of p, plus the flow turned.
    turned = turn.float()[..., None, None] * there[:, None]
    moved = planes(motion, (rows, columns)).add_(turned[:, :, 0]).add_(turned[:, :, 1])
    return torch.where(keep[:, None], moved, 0.0), keep


def found(maps: Tensor, grid: Tensor, mode: str) -> Tensor:
    """(B, C, H, W) at a grid, borders replicated: (B, C, h, w)."""
    return functional.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=False)


def _edges(flow: Tensor) -> Tensor:
    """(B, 1, H, W): 1 where the flow (B, 2, H, W) of a pixel and its right and lower neighbours differs by a JUMP."""
    wide = functional.pad(flow, (0, 1, 0, 1), mode="replicate")
    corners = wide[:, :, :-1, :-1], wide[:, :, :-1, 1:], wide[:, :, 1:, :-1], wide[:, :, 1:, 1:]
    highest = torch.maximum(torch.maximum(corners[0], corners[1]), torch.maximum(corners[2], corners[3]))
    lowest = torch.minimum(torch.minimum(corners[0], corners[1]), torch.minimum(corners[2], corners[3]))
    return ((highest - lowest).amax(dim=1, keepdim=True) > JUMP).float()


def _splatted(sample: TrainingSample, plan: SpatialPlan) -> tuple[Tensor, Tensor]:
    """Sends each valid pixel to the pixel of the crop it falls on; of several, the closest to the pixel's centre."""
    rows, columns = plan.crop
    y, x = (index.cpu().numpy().astype(np.float64) for index in sample.valid.nonzero(as_tuple=True))
    u, v = sample.flow[:, sample.valid].cpu().numpy().astype(np.float64)
    inverse, back = np.linalg.inv(plan.first), np.linalg.inv(plan.second)
    start = inverse[:2, :2] @ np.stack((x, y)) + inverse[:2, 2:]
    end = back[:2, :2] @ np.stack((x + u, y + v)) + back[:2, 2:]
    column, row = np.floor(start + 0.5).astype(np.int64)
    distance = np.square(start[0] - column) + np.square(start[1] - row)
    inside = np.flatnonzero((column >= 0) & (column < columns) & (row >= 0) & (row < rows))
    order = inside[np.argsort(-distance[inside], kind="stable")]  # the closest is written last
    flow = np.zeros((2, rows, columns), dtype=np.float32)
    valid = np.zeros((rows, columns), dtype=bool)
    flow[:, row[order], column[order]] = (end - start)[:, order]
    valid[row[order], column[order]] = True
    return torch.from_numpy(flow).to(sample.flow.device), torch.from_numpy(valid).to(sample.flow.device)
