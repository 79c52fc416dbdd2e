"""The offset-fidelity loss: offsets of deformable alignment must not leave the optical flow by more than a threshold.

Chan, Wang, Yu, Dong, Loy: "Understanding Deformable Alignment in Video Super-Resolution", AAAI 2021, equations 4 and 5.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from flowzoo.errors import InputError

Reduction = Literal["mean", "sum"]


def offset_fidelity_loss(
    offset: Tensor, flow: Tensor, weight: float = 1.0, threshold: float = 10.0, reduction: Reduction = "mean"
) -> Tensor:
    """weight * sum over offsets of |offset - flow| where it is above the threshold, component by component.

    The threshold (t in the paper) leaves offsets free to be diverse near the flow. The paper gives no values; those of
    its published code are the defaults. No gradient flows to `flow`, and none to offsets within the threshold.

    Args:
        offset: (B,2*G*N,h,w), channel (g*N+n)*2 = dy and the next dx, pixels of its own grid, without the taps of the
            kernel.
        flow: (B,2,H,W) from the reference to the neighbour, x then y. Of a grid 2^k times as large it is averaged and
            divided by 2^k first: the flow of a pyramid's level.
        weight: lambda of equation 4.
        threshold: pixels.
        reduction: over pixels and the two components: "mean" as the published code has it, or "sum" as equation 5.
            Batch and offsets are summed in both.

    Returns:
        A number; divide it by B for one that does not depend on the batch.

    Raises:
        InputError: shapes that do not fit, or an unknown reduction.
    """
    if reduction not in ("mean", "sum"):
        raise InputError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    target = flow_at(flow, offset).flip(1).unsqueeze(1)
    batch, channels, height, width = offset.shape
    distance = (offset.view(batch, channels // 2, 2, height, width) - target).abs()
    far = distance * (distance > threshold).to(distance.dtype)
    total = far.sum() if reduction == "sum" else far.sum() / (2 * height * width)
    return weight * total


def flow_at(flow: Tensor, offset: Tensor) -> Tensor:
    """The flow on the grid of `offset`, in its pixels, without gradient.

    Raises:
        InputError: no (B,2,H,W) whose size is that of the offsets times a power of two.
    """
    fits = offset.dim() == 4 and offset.shape[1] % 2 == 0 and flow.dim() == 4 and flow.shape[:2] == (len(offset), 2)
    factor = flow.shape[-2] // max(offset.shape[-2], 1)
    if (
        not fits
        or factor < 1
        or factor & (factor - 1)
        or flow.shape[-2:] != tuple(factor * s for s in offset.shape[-2:])
    ):
        raise InputError(
            f"flow must be (B,2,H,W), of the size of the offsets (B,2*G*N,h,w) times a power of two, "
            f"got {tuple(flow.shape)} and {tuple(offset.shape)}"
        )
    flow = flow.detach().to(offset.dtype)
    return flow if factor == 1 else F.avg_pool2d(flow, factor) / factor
