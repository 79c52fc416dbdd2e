"""Batch norm over all ranks: with it, several processes compute what one does with the whole batch."""

from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.distributed import Ranks

Norm = nn.modules.batchnorm._BatchNorm


class SynchronisedNorm(Norm):
    """A batch norm whose statistics in training are those of all ranks' samples; on CPUs and GPUs.

    Where all ranks together have a single value a channel, it uses (and leaves) its running statistics.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B,C,...) -> the same shape; every rank must have the same shape."""
        count = torch.distributed.get_world_size() * input.numel() // input.shape[1]
        known = self.running_mean is not None
        if (not self.training and known) or (count == 1 and known):
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        rest, shape = (0, *range(2, input.dim())), (1, -1, *[1] * (input.dim() - 2))
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        mean = _summed(values.sum(dim=rest)) / count
        centred = values - mean.view(shape)
        variance = _summed(centred.square().sum(dim=rest)) / count
        if self.training:
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
        result = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from two up will do."""

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards a batch's."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class _Sum(torch.autograd.Function):
    """Over all ranks; so is the gradient, since each rank's value goes into every rank's loss."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


def _summed(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


def synchronise_norms(module: nn.Module, ranks: Ranks) -> nn.Module:
    """`module`, whose batch norms are over all ranks now where there are several.

    They stay the same objects with the same parameters, of a class that is also their own: a network may look for it.
    """
    if ranks.count == 1:
        return module
    for norm in module.modules():
        if isinstance(norm, Norm) and not isinstance(norm, (SynchronisedNorm, nn.SyncBatchNorm)):
            own = type(norm)
            norm.__class__ = type(f"Synchronised{own.__name__}", (SynchronisedNorm, own), {})
    return module
