"""One process or many: what the training loop needs to know about its ranks. Started by `torchrun`, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from flowzoo.errors import InputError


@dataclass(frozen=True)
class Ranks:
    """This process among the `count` of a run; rank 0 writes the files."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def share_of(self, batch: int, accumulate: int) -> int:
        """Pairs of one part of a step on this rank.

        Raises:
            InputError: the batch does not divide evenly; a mean over unequal parts would not be the batch's.
        """
        if batch % (self.count * accumulate):
            raise InputError(
                f"a batch of {batch} does not divide into {self.count} process(es) times {accumulate} accumulation "
                "steps: set batch to a multiple of that"
            )
        return batch // (self.count * accumulate)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients that are averaged over all ranks."""
        if self.count == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def mean(self, values: Tensor) -> Tensor:
        """`values` averaged over all ranks."""
        if self.count > 1:
            dist.all_reduce(values)
            values /= self.count
        return values

    def wait(self) -> None:
        """Until every rank is here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def start(device: torch.device) -> Iterator[Ranks]:
    """The ranks of this run; on many, the process group lives as long as the context.

    Raises:
        InputError: another rank died, or a network between them broke.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(0, 1, device)
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=10))
    try:
        yield Ranks(rank, count, device)
    except (dist.DistError, RuntimeError) as error:
        if not _is_about_a_peer(error):
            raise
        raise InputError(
            f"rank {rank} of {count} lost contact with another process of this run, which has probably died "
            "(its own message stands above); the last checkpoint is complete: run the same command with --resume"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_about_a_peer(error: BaseException) -> bool:
    signs = ("connection closed by peer", "connection reset", "broken pipe", "timed out", "nccl", "gloo")
    return isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in signs)
