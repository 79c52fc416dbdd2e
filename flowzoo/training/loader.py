"""Batches prepared ahead of the loop by other processes."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from flowzoo.distributed import Ranks
from flowzoo.errors import InputError
from flowzoo.training.handover import joined, packed, prepare_sockets, unpacked
from flowzoo.training.stage import Stage
from flowzoo.training.task import Batch, Data


class Positions(Sampler[list[int]]):
    """Sample numbers of the parts of steps of one rank, from step `first` to the end of the stage.

    Step s of a global batch of B covers samples sB to (s+1)B, in as many equal runs as it has parts; of each of them
    rank r of n takes the r-th of n equal runs.
    """

    def __init__(self, first: int, stage: Stage, ranks: Ranks) -> None:
        self.first, self.stage, self.ranks = first, stage, ranks
        self.part = ranks.share_of(stage.batch, stage.accumulate)

    def __len__(self) -> int:
        return (self.stage.steps - self.first) * self.stage.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.stage.steps):
            for part in range(self.stage.accumulate):
                begin = step * self.stage.batch + (part * self.ranks.count + self.ranks.rank) * self.part
                yield list(range(begin, begin + self.part))


@dataclass
class Fault:
    """What was wrong with a batch: an InputError on its way from another process, without that one's traceback."""

    message: str


class Parts(Dataset[Any]):
    """Joined samples by their numbers: one part of a step at a time."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __getitem__(self, number: int) -> Any:
        return self.__getitems__([number])

    def __getitems__(self, numbers: list[int]) -> Any:
        try:
            part = joined(self.data.join, [self.data.samples[number] for number in numbers])
            return part if get_worker_info() is None else packed(part)
        except InputError as error:
            return Fault(str(error))


def batches(data: Data, first: int, stage: Stage, ranks: Ranks, workers: int) -> Iterator[Batch]:
    """The batches of this rank from step `first` of the stage on; `workers` processes prepare them.

    Raises:
        InputError: a sample cannot be read, or a process was killed.
    """
    if workers:
        prepare_sockets()
    loader = DataLoader(
        Parts(Data(data.samples, data.join)),  # what finishes them stays in this process
        batch_sampler=Positions(first, stage, ranks),
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread if workers else None,
        pin_memory=False,
    )
    return _finished(iter(loader), data)


def _finished(parts: Iterator[Any], data: Data) -> Iterator[Batch]:
    try:
        while True:
            try:
                part = next(parts)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise InputError(
                    "a process that prepares batches was killed, most likely for want of memory: take fewer --workers "
                    "or a smaller batch, and go on with --resume"
                ) from error
            if isinstance(part, Fault):
                raise InputError(part.message)
            if isinstance(part, bytes):
                part = unpacked(part)
            yield part if data.finish is None else data.finish(part)
    finally:
        # Whoever stops all processes of a run stops these, too; torch would tell of it in a traceback at the end.
        with suppress(RuntimeError):
            getattr(parts, "_shutdown_workers", _nothing)()


def _nothing() -> None:
    """In-process loading has no processes to stop."""


def _as_it_is(part: Any) -> Any:
    return part


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
