"""The registered operator `boundary_median`."""

import torch
from torch import Tensor

from flowzoo.operators.boundary_median import cpu, cuda, definition
from flowzoo.operators.registration import register


def _fake(colours: Tensor, flow: Tensor, trust: Tensor, spacing: int, disagreement: float, likeness: float) -> Tensor:
    return torch.empty_like(flow, memory_format=torch.contiguous_format)


BOUNDARY_MEDIAN = register(
    "boundary_median",
    "(Tensor colours, Tensor flow, Tensor trust, int spacing, float disagreement, float likeness) -> Tensor",
    definition.boundary_median,
    _fake,
    cpu=cpu.boundary_median,
    cuda=cuda.boundary_median,
)
