"""The registered operator `paired_planes`."""

from typing import Any

import torch
from torch import Tensor

from flowzoo.operators.paired_planes import cpu, definition
from flowzoo.operators.registration import register


def _fake(maps: Tensor) -> Tensor:
    images, channels, height, width = maps.shape
    return maps.new_empty(images // 2, channels, 2, height, width)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """The gradient needs nothing."""


def _backward(ctx: Any, gradient: Tensor) -> Tensor:
    return torch.cat(gradient.unbind(2))


PAIRED_PLANES = register(
    "paired_planes",
    "(Tensor maps) -> Tensor",
    definition.paired_planes,
    _fake,
    cpu=cpu.paired_planes,
    save=_save,
    backward=_backward,
)
