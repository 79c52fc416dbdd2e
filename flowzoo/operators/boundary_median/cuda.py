"""`boundary_median` as a CUDA launch (kernels/boundary_median.cu), or portable where no kernel fits."""

import numpy as np
import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.boundary_median import definition
from flowzoo.operators.launch import Argument, Launch, numbers

_THREADS = 128
"""Of a block; the same number stands in kernels/boundary_median.cu."""


def boundary_median(
    colours: Tensor, flow: Tensor, trust: Tensor, spacing: int, disagreement: float, likeness: float
) -> Tensor:
    """See definition.boundary_median."""
    if flow.dtype != torch.float32 or flow.numel() == 0:
        return definition.boundary_median(colours, flow, trust, spacing, disagreement, likeness)
    colours, flow, trust = (map.to(torch.float32).contiguous() for map in (colours, flow, trust))
    batch, _, height, width = flow.shape
    result = torch.empty_like(flow)
    sizes = numbers(batch, height, width, min(spacing, max(height, width)))
    weights = np.float32(disagreement), np.float32(-0.5 / likeness**2)
    arguments: tuple[Argument, ...] = (colours, flow, trust, result, *sizes, *weights)
    blocks = -(-batch * height * width // _THREADS)
    launch.start(Launch("boundary_median.cu", (("STORAGE", 0),), "boundary_median", blocks, (_THREADS, 1), arguments))
    return result
