"""One process, or one of several that `torchrun` started."""

import os
from typing import Any

from flowzoo.errors import InputError


class Ranks:
    """Which of the processes this is, and how they exchange small Python objects.

    Attributes:
        rank: number of this process, from 0.
        world: how many there are.
    """

    def __init__(self) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0")) if self.world > 1 else 0
        self.local = int(os.environ.get("LOCAL_RANK", "0")) if self.world > 1 else 0

    def __enter__(self) -> "Ranks":
        if self.world > 1:
            import torch.distributed

            # Only tallies travel, so the CPU backend serves GPUs as well.
            torch.distributed.init_process_group("gloo")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.world > 1:
            import torch.distributed

            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this process speaks to the user and writes the results."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank, in every process."""
        if self.world == 1:
            return [value]
        import torch.distributed

        values: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(values, value)
        return values

    def agree(self, problem: str | None) -> None:
        """Stop all processes if one of them has a problem, so that none waits for it.

        Raises:
            InputError: the first problem, in rank 0.
            SystemExit: with status 2, in the other processes: the message is printed once.
        """
        problems = [entry for entry in self.gather(problem) if entry is not None]
        if problems and self.first:
            raise InputError(problems[0])
        if problems:
            raise SystemExit(2)
