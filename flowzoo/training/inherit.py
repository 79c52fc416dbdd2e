"""Weights of one network as the start of another with more levels."""

import logging
import re

from torch import Tensor, nn

log = logging.getLogger(__name__)
LEVEL = re.compile(r"(?<=\.)(\d+)(?=\.)")


def inherit(network: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Copy `weights` into `network`; returns the names of the parameters that stay as they were drawn.

    A parameter without a namesake takes the values of the level above it (deeper, coarser): the name that differs in
    one number only, nearest and larger first, of equal shape. That is how LiteFlowNet trains a new level.
    """
    target = network.state_dict()
    fresh = []
    for name, value in target.items():
        source = weights.get(name)
        if source is None or source.shape != value.shape:
            source = _from_above(name, value, weights)
        if source is None:
            fresh.append(name)
        else:
            target[name] = source.to(value.dtype)
    network.load_state_dict(target)
    if fresh:
        log.info("%d of %d parameters start afresh", len(fresh), len(target))
    return fresh


def _from_above(name: str, value: Tensor, weights: dict[str, Tensor]) -> Tensor | None:
    for place in LEVEL.finditer(name):
        for distance in (1, -1):
            other = f"{name[: place.start()]}{int(place.group()) + distance}{name[place.end() :]}"
            found = weights.get(other)
            if found is not None and found.shape == value.shape:
                return found
    return None
