"""Pairs that are augmented on the training device: other processes read or render them and draw the plans."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from flowzoo.augmentation import TrainingBatch
from flowzoo.augmentation.batch import tensors_in
from flowzoo.augmentation.planned import PlannedBatch, PlannedSample, augmented_batch
from flowzoo.devices import moved
from flowzoo.training.flow.mixture import Mixture


class Plans(Dataset[PlannedSample]):
    """The samples of a mixture by number, before they are augmented."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def __getitem__(self, number: int) -> PlannedSample:
        pair, (source, _) = self.mixture.pair(number), self.mixture.place(number)
        return PlannedSample(pair, self.mixture.augmentation.plan(pair, source, number))


class PairPool:
    """The last pairs that came, on the device where they are: a batch is drawn from all of them.

    Args:
        size: so many pairs are kept.
        seed: of the draws.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.random = size, np.random.default_rng(seed)
        self.pairs: TrainingBatch | None = None
        self.filled, self.next = 0, 0

    def mixed(self, batch: PlannedBatch) -> PlannedBatch:
        """The batch's plans, for pairs of the pool, which the batch's pairs have joined in place of the oldest.

        Pairs of another form than those in the pool are left alone.
        """
        if self.pairs is None:
            rooms: dict[str, Any] = {name: _room(value, self.size) for name, value in vars(batch.pairs).items()}
            self.pairs = dataclasses.replace(batch.pairs, **rooms)
        if _form(batch.pairs) != _form(self.pairs):
            return batch
        new, kept = tensors_in(batch.pairs), tensors_in(self.pairs)
        for number in range(len(new[0])):
            for place, value in zip(kept, new, strict=True):
                place[self.next] = value[number]
            self.next = (self.next + 1) % self.size
            self.filled = max(self.filled, self.next or self.size)
        drawn = torch.from_numpy(self.random.integers(self.filled, size=len(batch.pair)))
        return dataclasses.replace(batch, pairs=self.pairs, pair=moved(drawn, batch.pair.device))


def _form(pairs: TrainingBatch) -> dict[str, Any]:
    """What pairs have in common that fit into one batch."""
    return {name: None if value is None else (value.shape[1:], value.dtype) for name, value in vars(pairs).items()}


def _room(value: Tensor | None, size: int) -> Tensor | None:
    return None if value is None else value.new_zeros((size, *value.shape[1:]))


@dataclass(frozen=True)
class DeviceAugmenter:
    """Carries out the plans of a batch on `device`, on the batch's own pairs or on those of a pool."""

    device: torch.device
    pool: PairPool | None = None

    def __call__(self, batch: PlannedBatch | TrainingBatch) -> TrainingBatch:
        """The augmented batch; one that was augmented already as it is."""
        if not isinstance(batch, PlannedBatch):
            return batch
        there = batch.to(self.device)
        return augmented_batch(there if self.pool is None else self.pool.mixed(there))
