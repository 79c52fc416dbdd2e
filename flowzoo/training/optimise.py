"""Optimiser, learning rate and weight average of a stage."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from flowzoo.errors import InputError
from flowzoo.files.reading import shown
from flowzoo.training.stage import Stage


def make_optimizer(network: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Adam or AdamW over the parameters that the stage trains; biases and other vectors are not decayed.

    Parameters that the network has frozen itself stay so.

    Raises:
        InputError: nothing is left to train, or an entry of `frozen` is the beginning of no parameter's name.
    """
    for start in stage.frozen:
        if not any(name.startswith(start) for name, _ in network.named_parameters()):
            parts = ", ".join(sorted({name.partition(".")[0] for name, _ in network.named_parameters()}))
            raise InputError(
                f"stage {stage.name!r} freezes {shown(start)!r}, but no parameter's name begins so; parts of the "
                f"network are {shown(parts, 400)}"
            )
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in network.named_parameters():
        if stage.frozen and name.startswith(stage.frozen):
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            factor = next((value for text, value in stage.factors() if text in name), 1.0)
            groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    if not any(groups.values()):
        raise InputError(f"stage {stage.name!r} trains nothing: all parameters are frozen (frozen = {stage.frozen})")
    # Without factors there are always these two, as checkpoints know them.
    options: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": stage.weight_decay if decayed else 0.0, "factor": factor}
        for (factor, decayed), parameters in groups.items()
        if parameters or factor == 1.0
    ]
    kind = torch.optim.AdamW if stage.optimizer == "adamw" else torch.optim.Adam
    return kind(options, lr=stage.learning_rate, betas=stage.betas)


def learning_rate(stage: Stage, step: int) -> float:
    """The rate of step `step` (from 0) of a stage."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return stage.learning_rate
    if stage.schedule == "steps":
        return stage.learning_rate * stage.decay ** sum(step >= milestone for milestone in stage.milestones)
    done, peak = min(1.0, (step - stage.warmup) / max(1, stage.steps - stage.warmup)), 1.0
    if stage.schedule == "cosine" and stage.periods:
        done, peak = _place_in_period(stage, step)
    share = (1 + math.cos(math.pi * done)) / 2 if stage.schedule == "cosine" else 1 - done
    return stage.last_learning_rate + peak * (stage.learning_rate - stage.last_learning_rate) * share


def _place_in_period(stage: Stage, step: int) -> tuple[float, float]:
    """How far `step` is within its period, 0..1, and that period's peak; the last period goes on at its end."""
    for period, peak in zip(stage.periods, stage.peaks, strict=True):
        if step < period:
            return step / period, peak
        step -= period
    return 1.0, stage.peaks[-1]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the rate `rate`, times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


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
