"""One process, or one of several that `torchrun` started: which of them this is, and how they agree.

Torch is imported where there are several.
"""

import gc
import itertools
import logging
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from flowzoo.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

T = TypeVar("T")
TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for another in the middle of a step before it takes it for dead."""
STARTING = timedelta(minutes=10)
"""How long the first rank waits for the last to start."""
PATIENCE = 0.02  # seconds between two looks at who else is here


@dataclass(frozen=True)
class Ranks:
    """This process among the `count` of a run; rank 0 leads: it writes the files and speaks.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
        local: number of this process on its machine.
        store: where ranks meet (`torch.distributed.Store`); None for one process.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    store: Any = None
    _meetings: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def share_of(self, batch: int, accumulate: int) -> int:
        """Samples of one part of a step on this rank.

        Raises:
            InputError: the batch does not divide evenly; a mean over unequal parts would not be the batch's.
        """
        if batch % (self.count * accumulate):
            raise InputError(
                f"a batch of {batch} does not divide into {self.count} process(es) times {accumulate} accumulation "
                "steps: set batch to a multiple of that"
            )
        return batch // (self.count * accumulate)

    def own(self, device: "torch.device") -> "torch.device":
        """The device of this process: of several with "cuda", each has its own."""
        if self.count == 1 or device.type != "cuda":
            return device
        import torch

        return torch.device("cuda", self.local % torch.cuda.device_count())

    def wrap(self, network: "nn.Module") -> "nn.Module":
        """The network with gradients that are averaged over all ranks."""
        if self.count == 1:
            return network
        from torch import nn

        return nn.parallel.DistributedDataParallel(network)

    def mean(self, values: "Tensor") -> "Tensor":
        """`values` averaged over all ranks, in place."""
        if self.count > 1:
            import torch.distributed

            torch.distributed.all_reduce(values)
            values /= self.count
        return values

    def meet(self, within: timedelta | None = None) -> None:
        """Wait until every rank is here, for at most `within`; None = however long that takes.

        Raises:
            InputError: some did not come.
        """
        if self.count == 1:
            return
        key = f"meeting {next(self._meetings)}"
        here = self.store.add(key, 1)
        end = math.inf if within is None else time.monotonic() + within.total_seconds()
        while here < self.count:
            if time.monotonic() > end:
                raise InputError(f"of {self.count} processes of this run {here} came: start all of them, and again")
            time.sleep(PATIENCE)
            here = self.store.add(key, 0)

    def gather(self, value: T) -> list[T]:
        """Every rank's value, by rank, in every rank; they may be hours apart."""
        if self.count == 1:
            return [value]
        import torch.distributed

        self.meet()
        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values

    def from_leader(self, work: Callable[[], T]) -> T:
        """What `work` gives, in every rank; rank 0 alone does it, and the others wait however long that takes.

        Raises:
            InputError: `work` raised it, in rank 0.
            SystemExit: with status 2, in the other ranks, then: the message is printed once.
        """
        found: T | None = None
        with self.agreement():
            if self.leads:
                found = work()
        return self.gather(found)[0]  # type: ignore[return-value]

    @contextmanager
    def agreement(self) -> Iterator[None]:
        """Stop all ranks if one of them has a problem in this block, so that none waits for it.

        Raises:
            InputError: the first problem, in rank 0.
            SystemExit: with status 2, in the other ranks: the message is printed once.
        """
        if self.count == 1:
            yield
            return
        problem = None
        try:
            yield
        except InputError as error:
            problem = str(error)
        problems = [entry for entry in self.gather(problem) if entry is not None]
        if problems and self.leads:
            raise InputError(problems[0])
        if problems:
            raise SystemExit(2)


@contextmanager
def start(device: "torch.device | None" = None, timeout: timedelta | None = None) -> Iterator[Ranks]:
    """The ranks of this run; on many, the process group lives as long as the context.

    Args:
        device: where the tensors that the ranks average are; None = the CPU.
        timeout: how long a rank waits for another within a step; None = `TIMEOUT`.

    Raises:
        InputError: another rank did not start or died, or a network between them broke.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    import torch
    import torch.distributed as dist

    # Its functions' defaults keep the group that exists when it is imported, which the first wrapped network does.
    import torch.distributed.nn.functional
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = device is not None and device.type == "cuda"
    if cuda:
        torch.cuda.set_device(local % torch.cuda.device_count())
    store, *_ = next(rendezvous("env://"))
    # Python objects travel by gloo, also where tensors are on GPUs.
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    group = PrefixStore("group", store)
    ranks = Ranks(rank, count, local, PrefixStore("ranks", store))
    ranks.meet(within=STARTING)  # a group's own patience is for its steps
    ours = logging.getLogger("flowzoo")
    level = ours.level
    if rank > 0:  # what all ranks notice is said once
        ours.setLevel(logging.ERROR)
    try:
        dist.init_process_group(backend, store=group, rank=rank, world_size=count, timeout=timeout or TIMEOUT)
        yield ranks
    except (InputError, SystemExit) as error:
        traceback.clear_frames(error.__traceback__)  # they have the wrapped network
        raise
    except RuntimeError as error:
        if not _is_about_a_peer(error):
            raise
        raise InputError(
            f"rank {rank} of {count} lost contact with another process of this run, which has probably died "
            "(its own message stands above); the last checkpoint is complete: run the same command with --resume"
        ) from error
    finally:
        ours.setLevel(level)
        if dist.is_initialized():
            # Wrapped networks keep the group's threads, and one that drops a tensor while Python ends aborts it.
            gc.collect()
            dist.destroy_process_group()


def _is_about_a_peer(error: BaseException) -> bool:
    import torch.distributed as dist

    signs = ("connection closed by peer", "connection reset", "broken pipe", "timed out", "nccl", "gloo")
    return isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in signs)
