"""Augmentation of a whole batch at once on the training device: the same changes as one pair at a time.

Other processes read or render pairs and draw plans; what travels is every pair once, however often it is augmented.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowzoo.augmentation.augment import TrainingBatch, augmented, collate, noise_pool, whole_numbers
from flowzoo.augmentation.batch import Tensors
from flowzoo.augmentation.colour import GREY, MEAN_STEP, ColourPlan
from flowzoo.augmentation.plan import AugmentationPlan
from flowzoo.augmentation.sample import TrainingSample
from flowzoo.augmentation.spatial import SpatialPlan, crop_grid, dense_flow, found, relative_map


@dataclass(frozen=True)
class PlannedSample:
    """A pair, and what is to become of it; samples in a row that come from one pair share its object."""

    sample: TrainingSample
    plan: AugmentationPlan


@dataclass
class ColourChanges(Tensors):
    """Of B samples' two frames, as `flowzoo.augmentation.colour.ColourPlan`.

    gamma, offset, contrast are (B, 2), gain (B, 2, 3), matrix (B, 2, 3, 3).
    """

    gamma: Tensor
    gain: Tensor
    offset: Tensor
    contrast: Tensor
    matrix: Tensor


@dataclass
class PlannedBatch(Tensors):
    """Pairs as they were read, and plans for B samples of them.

    Attributes:
        pairs: the pairs, stacked, frames as they are stored.
        pair: (B), which of the pairs a sample is made of.
        maps: (B, 2, 2, 3) float64, from pixels of the crop to pixels of the first and of the second frame.
        motions, turns: (B, 2, 2, 3) and (B, 2, 2, 2) float64, what `dense_flow` takes, for the flow and for the
            reverse flow.
        colours: of both frames.
        noise, noise_places: (B) and (B, 2, 2), as in the plans.
        erased: (B, 2, 4), rectangles of the second frame; without rows there is none.
        crop: height and width, pixels.
    """

    pairs: TrainingBatch
    pair: Tensor
    maps: Tensor
    motions: Tensor
    turns: Tensor
    colours: ColourChanges
    noise: Tensor
    noise_places: Tensor
    erased: Tensor
    crop: tuple[int, int]


def planned(samples: Sequence[PlannedSample]) -> PlannedBatch | TrainingBatch:
    """Samples whose plans a device can carry out together; others are augmented here, one by one."""
    if not all(map(_together, samples)) or len({_form(part.sample) for part in samples}) > 1:
        return collate([augmented(part.sample, part.plan) for part in samples])
    distinct = {id(part.sample): part.sample for part in samples}
    places = {key: number for number, key in enumerate(distinct)}
    plans = [part.plan for part in samples]
    return PlannedBatch(
        collate([_as_stored(sample) for sample in distinct.values()]),
        torch.tensor([places[id(part.sample)] for part in samples]),
        _stack([_maps(plan.spatial) for plan in plans]),
        _stack([_motions(plan.spatial) for plan in plans]),
        _stack([_turns(plan.spatial) for plan in plans]),
        _colours([plan.colours for plan in plans]),
        torch.tensor([plan.noise for plan in plans], dtype=torch.float32),
        _stack([plan.noise_places for plan in plans]),
        torch.tensor([[*plan.erased, *[(0, 0, 0, 0)] * (2 - len(plan.erased))] for plan in plans]),
        plans[0].spatial.crop,
    )


@torch.no_grad()
def augmented_batch(batch: PlannedBatch) -> TrainingBatch:
    """What the plans make of the pairs, on their device."""
    pairs, pair, crop = batch.pairs, batch.pair, batch.crop
    height, width = pairs.flow.shape[-2:]
    grids = [crop_grid(batch.maps[:, side], crop, (height, width)) for side in (0, 1)]
    frames = [
        found(_recoloured(_taken(stored, pair), batch.colours, side), grids[side], "bilinear")
        for side, stored in enumerate((pairs.first, pairs.second))
    ]
    first, second = (_noisy(frame, batch, side) for side, frame in enumerate(frames))
    flow, valid = dense_flow(pairs.flow[pair], pairs.valid[pair], grids[0], batch.motions[:, 0], batch.turns[:, 0])
    labels, reverse = (
        None if other is None else _moved_map(other[pair], grids[side], batch.motions[:, side], batch.turns[:, side])
        for side, other in enumerate((pairs.labels, pairs.reverse))
    )
    return TrainingBatch(first, _erased(second, batch.erased), flow, valid, labels, reverse)


def _together(part: PlannedSample) -> bool:
    """Scattered ground truth is splatted, and colours in eigen-space have statistics of their own."""
    return not part.sample.sparse and part.plan.chromatic is None


def _form(sample: TrainingSample) -> tuple[object, ...]:
    return sample.first.shape, sample.first.dtype, sample.labels is None, sample.reverse is None


def _as_stored(sample: TrainingSample) -> TrainingSample:
    return dataclasses.replace(sample, first=whole_numbers(sample.first), second=whole_numbers(sample.second))


def _stack(parts: list[NDArray[np.float64]] | list[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.stack(parts))


def _maps(plan: SpatialPlan) -> NDArray[np.float64]:
    return np.stack((plan.first[:2], plan.second[:2]))


def _motions(plan: SpatialPlan) -> NDArray[np.float64]:
    return np.stack((relative_map(plan.first, plan.second)[:2], relative_map(plan.second, plan.first)[:2]))


def _turns(plan: SpatialPlan) -> NDArray[np.float64]:
    return np.stack((np.linalg.inv(plan.second)[:2, :2], np.linalg.inv(plan.first)[:2, :2]))


def _colours(plans: list[tuple[ColourPlan, ColourPlan]]) -> ColourChanges:
    def each(name: str) -> Tensor:
        values = np.array([[getattr(plan, name) for plan in pair] for pair in plans], dtype=np.float32)
        return torch.from_numpy(values)

    return ColourChanges(*(each(name) for name in ("gamma", "gain", "offset", "contrast", "matrix")))


def _taken(frames: Tensor, numbers: Tensor) -> Tensor:
    if frames.dtype == torch.uint16:  # which PyTorch 2.7 does not take by numbers
        return frames.view(torch.int16)[numbers].view(torch.uint16)
    return frames[numbers]


def _recoloured(frames: Tensor, changes: ColourChanges, side: int) -> Tensor:
    """(B, 3, H, W) of whole numbers -> float32 in 0..1, see `flowzoo.augmentation.colour.recolour`."""
    gamma, offset, contrast = (
        part[:, side, None, None, None] for part in (changes.gamma, changes.offset, changes.contrast)
    )
    gain, matrix = changes.gain[:, side, :, None, None], changes.matrix[:, side]
    largest = torch.iinfo(frames.dtype).max
    values = frames.to(torch.float32).div_(largest).pow_(gamma).mul_(gain).add_(offset)
    means = values[:, :, ::MEAN_STEP, ::MEAN_STEP].mean(dim=(2, 3)).unbind(1)
    grey = sum(mean * share for mean, share in zip(means, GREY.tolist(), strict=True))[:, None, None, None]
    values = values.sub_(grey).mul_(contrast).add_(grey).clamp_(0, 1)
    mixed: Tensor = matrix @ values.flatten(2)
    return mixed.clamp_(0, 1).reshape(frames.shape)


def _noisy(frames: Tensor, batch: PlannedBatch, side: int) -> Tensor:
    rows, columns = batch.crop
    pool = noise_pool(rows, columns, frames.device)
    top, left = batch.noise_places[:, side].unbind(1)
    y = (top[:, None] + torch.arange(rows, device=frames.device))[:, :, None]
    x = (left[:, None] + torch.arange(columns, device=frames.device))[:, None]
    noise = pool[:, y, x].transpose(0, 1)
    return frames.add_(noise * batch.noise[:, None, None, None]).clamp_(0, 1)


def _erased(frames: Tensor, rectangles: Tensor) -> Tensor:
    """Rectangles (B, n, 4) filled with the frames' mean colour."""
    rows = torch.arange(frames.shape[2], device=frames.device)[:, None]
    columns = torch.arange(frames.shape[3], device=frames.device)
    top, left, tall, wide = (part[..., None, None] for part in rectangles.unbind(2))
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    return torch.where(inside.any(dim=1, keepdim=True), frames.mean(dim=(2, 3), keepdim=True), frames)


def _moved_map(flow_and_mask: Tensor, grid: Tensor, motion: Tensor, turn: Tensor) -> Tensor:
    """A dense flow with its mask, (B, 3, H, W)."""
    flow, valid = dense_flow(flow_and_mask[:, :2], flow_and_mask[:, 2] > 0, grid, motion, turn)
    return torch.cat((flow, valid[:, None]), dim=1)
