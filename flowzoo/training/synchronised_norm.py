"""Batch norm over all ranks: with it, several processes compute what one does with the whole batch."""

from typing import cast

import torch
import torch.distributed.nn
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.distributed import Ranks


class SynchronisedNorm(nn.BatchNorm2d):
    """A `BatchNorm2d` whose statistics in training are those of all ranks' samples; on CPUs and GPUs.

    Where all ranks together have a single value a channel, it uses (and leaves) its running statistics.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B,C,H,W) -> the same shape; every rank must have the same shape."""
        mean, variance = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        ranks = torch.distributed.get_world_size()
        count = ranks * input.numel() // input.shape[1]
        if not self.training or count == 1:
            return F.batch_norm(input, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        values = input.float()
        batch_mean = _summed(values.sum(dim=(0, 2, 3))) / count
        centred = values - batch_mean.view(1, -1, 1, 1)
        batch_variance = _summed(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            self._remember(batch_mean, batch_variance * count / (count - 1))
        scale = self.weight * torch.rsqrt(batch_variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards a batch's."""
        count = cast(Tensor, self.num_batches_tracked)
        count += 1
        share = 1 / float(count) if self.momentum is None else self.momentum
        cast(Tensor, self.running_mean).lerp_(mean, share)
        cast(Tensor, self.running_var).lerp_(variance, share)


def _summed(values: Tensor) -> Tensor:
    """Over all ranks, with gradient."""
    total: Tensor = torch.distributed.nn.all_reduce(values)
    return total


def synchronise_norms(module: nn.Module, ranks: Ranks) -> nn.Module:
    """`module` with its batch norms replaced where there are several ranks; names of parameters stay."""
    if ranks.count == 1:
        return module
    for owner in list(module.modules()):
        for name, norm in list(owner.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                setattr(owner, name, _over_ranks(norm))
    return module


def _over_ranks(norm: nn.BatchNorm2d) -> SynchronisedNorm:
    """With the very parameters and buffers of `norm`."""
    result = SynchronisedNorm(norm.num_features, norm.eps, norm.momentum)
    result.weight, result.bias = norm.weight, norm.bias
    result.running_mean, result.running_var = norm.running_mean, norm.running_var
    result.num_batches_tracked = norm.num_batches_tracked
    return result.train(norm.training)
