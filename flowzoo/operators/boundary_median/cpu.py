"""`boundary_median` on the CPU (kernels/boundary_median.cpp), or portable where there is no kernel."""

from torch import Tensor

from flowzoo.operators import native_call
from flowzoo.operators.boundary_median import definition
from flowzoo.operators.native_call import reads, suits, writes

_FLOPS = 200
"""Of a number of the flow, about: most pixels are only compared with their neighbours."""


def boundary_median(
    colours: Tensor, flow: Tensor, trust: Tensor, spacing: int, disagreement: float, likeness: float
) -> Tensor:
    """See definition.boundary_median."""
    if suits(colours, flow, trust):
        batch, _, height, width = flow.shape
        result = writes(batch, 2, height, width)
        memory = (
            reads("colours", colours, (batch, 3, height, width)),
            reads("flow", flow, (batch, 2, height, width)),
            reads("trust", trust, (batch, 1, height, width)),
            result,
        )
        numbers = batch, height, width, min(spacing, max(height, width)), float(disagreement), float(likeness)
        threads = native_call.threads_for(_FLOPS * flow.numel())
        if native_call.run("boundary_median", *memory, *numbers, threads=threads):
            return result.in_(flow.dtype)
    return definition.boundary_median(colours, flow, trust, spacing, disagreement, likeness)
