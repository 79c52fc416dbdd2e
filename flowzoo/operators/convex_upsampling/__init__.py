"""Convex upsampling (RAFT, section 3.3): a fine flow is a learned weighted mean of the 3x3 coarse ones around it.

The plain form, a softmax and a broadcast product, spends most of its time on temporaries nine times the size of the
result; here none is made, and the backward pass computes the softmax anew instead of keeping it.
"""

from torch import Tensor

from flowzoo.operators.checks import check_maps, check_shape, check_whole
from flowzoo.operators.convex_upsampling.registered import CONVEX_UPSAMPLING


def convex_upsampling(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    """Flow at `factor` times the size, in pixels of the finer grid (RAFT, section 3.3).

    Args:
        flow: (B,2,h,w), pixels of its own grid.
        logits: (B,9*factor^2,h,w); channel k*factor^2 + (fy*factor + fx) weighs neighbour k (row by row through the
            3x3 window, edges replicated) for the fine pixel (fy, fx) of each coarse one. A softmax over k is taken.
        factor: whole number from 1 up.

    Returns:
        (B,2,h*factor,w*factor), of the flow's dtype. Differentiable twice in flow and logits.

    Raises:
        InputError: shapes, devices or a factor that do not fit.
    """
    check_maps("flow", flow, channels=2)
    check_whole("factor", factor, 1)
    batch, _, height, width = flow.shape
    check_shape("logits", logits, (batch, 9 * factor * factor, height, width), "flow", flow)
    result: Tensor = CONVEX_UPSAMPLING(flow, logits, factor)
    return result
