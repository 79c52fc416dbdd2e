"""Pairs that are augmented on the training device: other processes read or render them and draw the plans."""

from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from flowzoo.augmentation import TrainingBatch
from flowzoo.augmentation.planned import PlannedBatch, PlannedSample, augmented_batch
from flowzoo.training.flow.mixture import Mixture


class Plans(Dataset[PlannedSample]):
    """The samples of a mixture by number, before they are augmented."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def __getitem__(self, number: int) -> PlannedSample:
        pair, (source, _) = self.mixture.pair(number), self.mixture.place(number)
        return PlannedSample(pair, self.mixture.augmentation.plan(pair, source, number))


@dataclass(frozen=True)
class DeviceAugmenter:
    """Carries out the plans of a batch on `device`."""

    device: torch.device

    def __call__(self, batch: PlannedBatch | TrainingBatch) -> TrainingBatch:
        """The augmented batch; one that was augmented already as it is."""
        return augmented_batch(batch.to(self.device)) if isinstance(batch, PlannedBatch) else batch
