"""Backward warping: bilinear sampling at p + flow."""

import torch
from torch import Tensor

from flowzoo.operators import native
from flowzoo.operators.checks import check_flow, check_maps
from flowzoo.operators.registration import in_plain_torch, is_traced
from flowzoo.operators.warp import cpu, definition
from flowzoo.operators.warp.registered import Warp


def warp(features: Tensor, flow: Tensor) -> Tensor:
    """`features` sampled at p + flow(p), bilinear; each of the four neighbours outside the map counts as zero.

    out[b,c,y,x] = features[b, c, y + flow[b,1,y,x], x + flow[b,0,y,x]]. NaN or infinite flow gives zero.

    Args:
        features: (B,C,H,W).
        flow: (B,2,H,W), x then y, pixels of this grid.

    Returns:
        (B,C,H,W), of the features' dtype.

    Raises:
        InputError: shapes or devices that do not fit.
    """
    check_maps("features", features)
    check_flow(flow, "features", features)
    if is_traced() or in_plain_torch():
        return definition.warp(features, flow)
    if torch.is_grad_enabled() and (features.requires_grad or flow.requires_grad):
        if cpu.takes(features, flow) and native.library() is not None:
            result: Tensor = Warp.apply(features, flow)  # type: ignore[no-untyped-call]
            return result
        return definition.warp(features, flow)
    found = cpu.warp(features, flow)
    return definition.warp(features, flow) if found is None else found
