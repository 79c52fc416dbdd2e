"""Weights of one network as the start of another with more levels or wider layers."""

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

    A parameter with more channels than its namesake keeps what it had, and takes nothing yet from the new inputs: where
    new channels come behind the old ones, the network computes what it did before (Chen et al., "Net2Net", ICLR 2016).

    Raises:
        InputError: nothing fits.
    """
    target = network.state_dict()
    transposed = {f"{name}.weight" for name, part in network.named_modules() if isinstance(part, nn.ConvTranspose2d)}
    fresh = []
    for name, value in target.items():
        source = weights.get(name)
        if source is None or source.shape != value.shape:
            level = LEVEL.match(name)
            above = f"levels.{int(level.group(1)) + 1}.{name[level.end() :]}" if level else name
            above_source = weights.get(above)
            if above_source is not None and above_source.shape == value.shape:
                source = above_source
        if source is not None and can_widen(source, value):
            target[name] = widened(source, value, inputs_first=name in transposed)
        else:
            fresh.append(name)
    if len(fresh) == len(target):
        raise InputError("the weights to start from share no parameter with the network: give weights of its family")
    network.load_state_dict(target)
    if fresh:
        log.info("%d of %d parameters start afresh", len(fresh), len(target))
    return fresh


def can_widen(source: Tensor, drawn: Tensor) -> bool:
    """Whether `drawn` is `source` with as many or more outputs and inputs (its first two dimensions)."""
    if source.dim() != drawn.dim() or source.shape[2:] != drawn.shape[2:]:
        return False
    return all(before <= after for before, after in zip(source.shape, drawn.shape, strict=True))


def widened(source: Tensor, drawn: Tensor, *, inputs_first: bool = False) -> Tensor:
    """`drawn` with the values of `source` for the old outputs, which take nothing from new inputs."""
    if source.shape == drawn.shape:
        return source.to(drawn.dtype)
    result = drawn.clone()
    if inputs_first:
        result[:, : source.shape[1]] = 0
    else:
        result[: source.shape[0]] = 0
    result[tuple(slice(size) for size in source.shape)] = source.to(drawn.dtype)
    return result
