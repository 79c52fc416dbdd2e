"""`Augmentation`: one call changes space, colour and noise of a pair, reproducibly."""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowzoo.augmentation.batch import Tensors, stacked
from flowzoo.augmentation.colour import chromatic, recolour
from flowzoo.augmentation.plan import POOL_MARGIN, AugmentationPlan, draw_plan
from flowzoo.augmentation.sample import TrainingSample
from flowzoo.augmentation.settings import AugmentationSettings
from flowzoo.augmentation.spatial import transform
from flowzoo.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Changes pairs at random, the same way for the same (seed, epoch, index), on the device where they are.

    Args:
        settings: the ranges.
        crop: height and width of the result, pixels.
        seed: of all draws.
    """

    settings: AugmentationSettings
    crop: tuple[int, int]
    seed: int = 0

    def __call__(self, sample: TrainingSample, epoch: int, index: int, strength: float = 1.0) -> TrainingSample:
        """The changed pair: float32 frames in 0..1, flow in pixels of the crop.

        `strength` scales the relative motion between the frames (FlowNet2 raises it during training).

        Raises:
            InputError: the crop does not fit the frames, or frames, flow and mask differ in size.
        """
        return augmented(sample, self.plan(sample, epoch, index, strength))

    def plan(self, sample: TrainingSample, epoch: int, index: int, strength: float = 1.0) -> AugmentationPlan:
        """What a call with the same arguments does.

        Raises:
            InputError: as for a call.
        """
        check(sample)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, epoch, index))))
        height, width = sample.flow.shape[-2:]
        return draw_plan(rng, self.settings, (height, width), self.crop, strength)


@torch.no_grad()
def augmented(sample: TrainingSample, plan: AugmentationPlan) -> TrainingSample:
    """The pair that a plan makes of another."""
    frames = [
        recolour(whole_numbers(frame), colour)
        for frame, colour in zip((sample.first, sample.second), plan.colours, strict=True)
    ]
    changed = transform(dataclasses.replace(sample, first=frames[0], second=frames[1]), plan.spatial)
    pair = torch.stack((changed.first, changed.second))
    if plan.chromatic is not None:
        pair = chromatic(pair, plan.chromatic)
    pair = noisy(pair, plan.noise, plan.noise_places)
    if plan.erased:
        erase(pair[1], plan.erased)
    return dataclasses.replace(changed, first=pair[0], second=pair[1])


def check(sample: TrainingSample) -> None:
    """All parts of a sample must have one size.

    Raises:
        InputError: they differ.
    """
    parts = [sample.first, sample.second, sample.flow, sample.valid]
    parts += [part for part in (sample.labels, sample.reverse) if part is not None]
    sizes = {tuple(part.shape[-2:]) for part in parts}
    if len(sizes) != 1:
        shown = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise InputError(f"frames, flow and mask of a pair differ in size: {shown}")


def whole_numbers(frame: Tensor) -> Tensor:
    """As it is stored; made frames, which are floats, with 8 bits."""
    if frame.dtype in (torch.uint8, torch.uint16):
        return frame
    return frame.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=4)
def noise_pool(height: int, width: int, device: torch.device) -> Tensor:
    """Normal noise that frames of (3, height, width) are cut from at one of POOL_MARGIN x POOL_MARGIN places."""
    source = torch.Generator().manual_seed(31)
    return torch.randn((3, height + POOL_MARGIN, width + POOL_MARGIN), generator=source).to(device)


def noisy(pair: Tensor, sigma: float, places: NDArray[np.int64]) -> Tensor:
    """(2, 3, h, w) plus Gaussian noise of standard deviation `sigma`, clamped to 0..1; in place.

    The frames' noise is at `places` (2, 2) of the pool, top and left.
    """
    if sigma == 0:
        return pair
    height, width = pair.shape[-2:]
    pool = noise_pool(height, width, pair.device)
    for frame, (top, left) in zip(pair, places.tolist(), strict=True):
        frame.add_(pool[:, top : top + height, left : left + width], alpha=sigma)
    return pair.clamp_(0, 1)


def erase(frame: Tensor, rectangles: tuple[tuple[int, int, int, int], ...]) -> None:
    """Fill rectangles of (3, h, w) with its mean colour, in place; the flow stays what it was."""
    mean = frame.mean(dim=(1, 2), keepdim=True)
    for top, left, rows, columns in rectangles:
        frame[:, top : top + rows, left : left + columns] = mean


@dataclass
class TrainingBatch(Tensors):
    """Stacked samples.

    first, second are (B, 3, H, W) float32 in 0..1, flow (B, 2, H, W), valid (B, H, W) bool; labels and reverse are
    (B, 3, H, W), or None where no sample has any: of a sample without them nothing is known.
    """

    first: Tensor
    second: Tensor
    flow: Tensor
    valid: Tensor
    labels: Tensor | None = None
    reverse: Tensor | None = None


def collate(samples: list[TrainingSample]) -> TrainingBatch:
    """Stack augmented samples of one size (for a DataLoader's `collate_fn`)."""
    return stacked(TrainingBatch, samples)
