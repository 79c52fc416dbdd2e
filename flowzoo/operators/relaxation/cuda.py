"""`relaxation` as CUDA launches, one a pass (kernels/relaxation.cu), or portable where no kernel fits."""

import numpy as np
import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.launch import Argument, Launch, numbers
from flowzoo.operators.relaxation import definition

_THREADS = 256


def relaxation(system: Tensor, step: Tensor, sweeps: int, factor: float) -> Tensor:
    """See definition.relaxation."""
    if step.dtype != torch.float32 or step.numel() == 0:
        return definition.relaxation(system, step, sweeps, factor)
    system = system.to(torch.float32).contiguous()
    step = step.clone(memory_format=torch.contiguous_format)
    relax_in_place(system, step, sweeps, factor)
    return step


def relax_in_place(system: Tensor, step: Tensor, sweeps: int, factor: float) -> None:
    """Sweeps over contiguous float32 tensors."""
    batch, _, height, width = step.shape
    blocks = -(-batch * height * ((width + 1) // 2) // _THREADS)
    for pass_number in range(2 * sweeps):
        sizes = numbers(batch, height, width, pass_number % 2)
        arguments: tuple[Argument, ...] = (system, step, *sizes, np.float32(factor))
        launch.start(Launch("relaxation.cu", (("STORAGE", 0),), "relax_pass", blocks, (_THREADS, 1), arguments))
