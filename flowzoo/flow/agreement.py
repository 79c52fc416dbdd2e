"""What the flows of both directions say about each other."""

import torch

from flowzoo.errors import InputError
from flowzoo.flow import forward_backward
from flowzoo.flow.kinds import Maps, flow_in


def consistency(flow: Maps, backward: Maps) -> Maps:
    """How far, in pixels, from where it started the way there and back ends: |w(p) + w'(p + w(p))|.

    Args:
        flow: from first to second (shapes: see `flowzoo.flow`).
        backward: from second to first, of the second image's size.

    Returns:
        (H,W), or (B,H,W) for a batch; NaN where the flow leads out of the second image or either is unknown.

    Raises:
        InputError: a shape that flow does not have.
    """
    there, kind = flow_in("flow", flow)
    back, _ = flow_in("backward", backward)
    _one_batch(there.shape[0], back.shape[0])
    returned, inside = forward_backward.returned(there, back.to(there))
    error = (there + returned).square().sum(1).sqrt()
    return kind.back_mask(torch.where(inside, error, torch.nan).to(kind.dtype))  # type: ignore[no-any-return]


def occlusion(flow: Maps, backward: Maps, relative: float = 0.01, absolute: float = 0.5) -> Maps:
    """Pixels of the first image that the second does not show, by the forward-backward check.

    Occluded is where |w + w'|^2 > relative (|w|^2 + |w'|^2) + absolute, or where the flow leads out of the image
    (Sundaram, Brox, Keutzer, ECCV 2010, section 3.2); so is where either flow is unknown.

    Args:
        flow: from first to second (shapes: see `flowzoo.flow`).
        backward: from second to first, of the second image's size.
        relative, absolute: the bound; the second in square pixels.

    Returns:
        (H,W) bool, or (B,H,W) for a batch.

    Raises:
        InputError: a shape that flow does not have.
    """
    there, kind = flow_in("flow", flow)
    back, _ = flow_in("backward", backward)
    _one_batch(there.shape[0], back.shape[0])
    back = back.to(there)
    hidden = forward_backward.occlusion(there, back, relative, absolute)
    # No comparison holds for NaN.
    unknown = ~(there + forward_backward.returned(there, back)[0]).isfinite().all(dim=1)
    return kind.back_mask(hidden | unknown)  # type: ignore[no-any-return]


def _one_batch(first: int, second: int) -> None:
    if first != second:
        raise InputError(f"flow is of {first} pairs, backward of {second}: give both directions of the same pairs")
