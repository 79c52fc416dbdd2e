"""Weights of one network as the start of another with more levels."""

import logging
import re

from torch import Tensor, nn

from flowzoo.errors import InputError

log = logging.getLogger(__name__)
LEVEL = re.compile(r"levels\.(\d+)\.")


def inherit(network: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Copy `weights` into `network`; returns the names of the parameters that stay as they were drawn.

    A parameter `levels.N...` without a namesake takes the values of the level above it, `levels.N+1...` (deeper,
    coarser), where it has the same shape. That is how LiteFlowNet trains a new level.

    Raises:
        InputError: nothing fits.
    """
    target = network.state_dict()
    fresh = []
    for name, value in target.items():
        source = weights.get(name)
        if source is None or source.shape != value.shape:
            level = LEVEL.match(name)
            above = f"levels.{int(level.group(1)) + 1}.{name[level.end() :]}" if level else name
            source = weights.get(above)
        if source is None or source.shape != value.shape:
            fresh.append(name)
        else:
            target[name] = source.to(value.dtype)
    if len(fresh) == len(target):
        raise InputError("the weights to start from share no parameter with the network: give weights of its family")
    network.load_state_dict(target)
    if fresh:
        log.info("%d of %d parameters start afresh", len(fresh), len(target))
    return fresh
