"""The registered operator `relaxation`."""

import torch
from torch import Tensor

from flowzoo.operators.registration import register
from flowzoo.operators.relaxation import cpu, cuda, definition


def _fake(system: Tensor, step: Tensor, sweeps: int, factor: float) -> Tensor:
    return torch.empty_like(step, memory_format=torch.contiguous_format)


RELAXATION = register(
    "relaxation",
    "(Tensor system, Tensor step, int sweeps, float factor) -> Tensor",
    definition.relaxation,
    _fake,
    cpu=cpu.relaxation,
    cuda=cuda.relaxation,
)
