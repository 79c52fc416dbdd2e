"""`relaxation` on the CPU (kernels/relaxation.cpp), or portable where there is no kernel."""

from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.native_call import reads, suits, writes
from flowzoo.operators.relaxation import definition

_FLOPS = 40
"""Of a pixel in a sweep."""


def relaxation(system: Tensor, step: Tensor, sweeps: int, factor: float) -> Tensor:
    """See definition.relaxation."""
    if suits(system, step):
        batch, _, height, width = step.shape
        after = writes(batch, 2, height, width)
        rows = [reads("system", part, (batch, height, width)) for part in system.unbind(dim=1)]
        memory = *rows, reads("step", step, (batch, 2, height, width)), after
        threads = native_call.threads_for(_FLOPS * step.numel() * sweeps)
        if len(rows) == 7 and native_call.run(
            "relaxation", *memory, batch, height, width, sweeps, float(factor), threads=threads
        ):
            return after.in_(step.dtype)
    return definition.relaxation(system, step, sweeps, factor)
