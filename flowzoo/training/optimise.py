"""Optimiser, learning rate and weight average of a stage."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from flowzoo.errors import InputError
from flowzoo.training.stage import Stage


def make_optimizer(network: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Adam or AdamW over the parameters that the stage trains; biases and other vectors are not decayed.

    Parameters that the network has frozen itself stay so.

    Raises:
        InputError: nothing is left to train.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if stage.frozen and name.startswith(stage.frozen):
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 else free).append(parameter)
    if not decayed and not free:
        raise InputError(f"stage {stage.name!r} trains nothing: all parameters are frozen (frozen = {stage.frozen})")
    groups = [{"params": decayed, "weight_decay": stage.weight_decay}, {"params": free, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if stage.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=stage.learning_rate, betas=stage.betas)


def learning_rate(stage: Stage, step: int) -> float:
    """The rate of step `step` (from 0) of a stage."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return stage.learning_rate
    if stage.schedule == "steps":
        return stage.learning_rate * stage.decay ** sum(step >= milestone for milestone in stage.milestones)
    done = min(1.0, (step - stage.warmup) / max(1, stage.steps - stage.warmup))
    share = (1 + math.cos(math.pi * done)) / 2 if stage.schedule == "cosine" else 1 - done
    return stage.last_learning_rate + (stage.learning_rate - stage.last_learning_rate) * share


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradient(parameters: Iterable[Tensor], largest: float) -> Tensor:
    """Scale the gradient down to norm `largest` (0 = leave it); returns the norm before, as a scalar tensor."""
    bound = largest if largest > 0 else math.inf
    return nn.utils.clip_grad_norm_(list(parameters), bound, error_if_nonfinite=False)


class WeightAverage:
    """Exponential mean of a network's parameters (buffers are copied)."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network's parameters after step `step` (from 0)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        means, values = [], []
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                means.append(self.state[name])
                values.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(means, values, share)
