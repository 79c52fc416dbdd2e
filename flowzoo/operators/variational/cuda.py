"""`variational_step` as CUDA launches (kernels/variational.cu, relaxation.cu), or portable."""

import numpy as np
import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.launch import Argument, Launch
from flowzoo.operators.launch import numbers as whole_numbers
from flowzoo.operators.relaxation.cuda import relax_in_place
from flowzoo.operators.variational import definition

_THREADS = 256


def variational_step(first: Tensor, second: Tensor, edges: Tensor, flow: Tensor, *numbers: float) -> Tensor:
    """See definition.variational_step."""
    if flow.dtype != torch.float32 or flow.numel() == 0:
        return definition.variational_step(first, second, edges, flow, *numbers)
    terms, weights, (sweeps, factor, largest) = definition.StepNumbers._make(numbers).parts()
    first, second, edges, flow = (map.to(torch.float32).contiguous() for map in (first, second, edges, flow))
    batch, _, height, width = flow.shape
    sizes = whole_numbers(batch, height, width)
    compared, system = flow.new_empty(batch, 3, height, width), flow.new_empty(batch, 7, height, width)
    _start("compare_images", batch * height * width, first, second, flow, compared, *sizes)
    _start(
        "make_system", batch * height * width, compared, edges, flow, system, *sizes, *map(np.float32, terms + weights)
    )
    step, moved = torch.zeros_like(flow), torch.empty_like(flow)
    relax_in_place(system, step, sweeps, factor)
    _start("move_flow", flow.numel(), flow, step, moved, np.int64(flow.numel()), np.float32(largest))
    return moved


def _start(kernel: str, count: int, *arguments: Argument) -> None:
    """A thread for each of `count` things."""
    defines = (("STORAGE", 0),)
    launch.start(Launch("variational.cu", defines, kernel, -(-count // _THREADS), (_THREADS, 1), arguments))
