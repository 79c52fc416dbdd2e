"""Batches of a mixture, prepared ahead of the loop by other processes, or rendered on the training device."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from flowzoo.augmentation import TrainingBatch, collate
from flowzoo.distributed import Ranks
from flowzoo.training.mixture import Mixture
from flowzoo.training.recipe import Stage
from flowzoo.training.rendering import DeviceRenderer, Drawings, rendered_sources


class Positions(torch.utils.data.Sampler[list[int]]):
    """Sample numbers of the parts of steps of one rank, from step `first` to the end of the stage.

    Step s of a global batch of B covers samples sB to (s+1)B; rank r of n takes the r-th of its n equal runs, cut into
    the accumulation's parts.
    """

    def __init__(self, first: int, stage: Stage, ranks: Ranks) -> None:
        self.first, self.stage, self.ranks = first, stage, ranks
        self.part = ranks.share_of(stage.batch, stage.accumulate)

    def __len__(self) -> int:
        return (self.stage.steps - self.first) * self.stage.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.stage.steps):
            begin = step * self.stage.batch + self.ranks.rank * self.part * self.stage.accumulate
            for part in range(self.stage.accumulate):
                yield list(range(begin + part * self.part, begin + (part + 1) * self.part))


def batches(mixture: Mixture, first: int, stage: Stage, ranks: Ranks, workers: int) -> Iterator[TrainingBatch]:
    """The batches of this rank from step `first` of the stage on; `workers` processes prepare them.

    Where the stage renders on the training device, they draw the scenes only.
    """
    positions = Positions(first, stage, ranks)
    if renders_on_device(mixture, stage, ranks.device):
        return map(DeviceRenderer(mixture, ranks.device), _prepared(Drawings(mixture), positions, list, workers))
    return _prepared(mixture, positions, collate, workers)


def renders_on_device(mixture: Mixture, stage: Stage, device: torch.device) -> bool:
    """Whether rendered pairs of this stage are made on `device`, by the training process."""
    wanted = stage.rendering == "device" or (stage.rendering == "auto" and device.type == "cuda")
    return wanted and len(rendered_sources(mixture)) > 0


def _prepared(
    samples: Dataset[Any], positions: Positions, join: Callable[[list[Any]], Any], workers: int
) -> Iterator[Any]:
    loader = DataLoader(
        samples,
        batch_sampler=positions,
        collate_fn=join,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread if workers else None,
        pin_memory=False,
    )
    return iter(loader)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
