"""Images moved by flow: backward (every pixel looks up where it came from) and forward (every pixel is thrown)."""

import torch

from flowzoo import operators
from flowzoo.flow.kinds import Maps, flow_in, image_in, same_size

_EMPTY = 1e-3


def warp(image: Maps, flow: Maps) -> Maps:
    """`image` sampled at p + flow(p): the second image brought to the first, by the flow from first to second.

    Bilinear; neighbours outside the image count as zero, and unknown (NaN) flow gives zero.

    Args:
        image: of the flow's size, any channels, any real type (shapes: see `flowzoo.flow`); whole numbers are rounded.
        flow: in pixels.

    Returns:
        As `image`. Differentiable in both, for tensors of floating point.

    Raises:
        InputError: shapes that do not fit.
    """
    maps, kind = image_in("image", image)
    field, _ = flow_in("flow", flow)
    same_size("image", maps, "flow", field)
    return kind.back(operators.warp(maps, field.to(maps)))  # type: ignore[no-any-return]


def splat(values: Maps, flow: Maps, weights: Maps | None = None, *, fill: float = 0.0) -> Maps:
    """`values` carried to p + flow(p): the first image brought towards the second.

    Each pixel gets the weighted mean of what lands around it, with bilinear shares; `flowzoo.operators.splat` gives the
    sums alone.

    Args:
        values: of the flow's size, any channels (shapes: see `flowzoo.flow`). Pixels with a NaN are left out.
        flow: in pixels; scaled by t it leads to the moment t. Pixels with unknown flow are left out.
        weights: (H,W) or one channel, 0 or more: how much each pixel counts where several land; the exponential of
            minus the depth, or of how well the two images agree. None: all alike.
        fill: the value where nothing lands.

    Returns:
        As `values`. Differentiable in all, for tensors of floating point.

    Raises:
        InputError: shapes that do not fit.
    """
    maps, kind = image_in("values", values)
    field, _ = flow_in("flow", flow)
    same_size("values", maps, "flow", field)
    known = maps.isfinite().all(dim=1, keepdim=True)
    share = known.to(maps.dtype)
    if weights is not None:
        given, _ = image_in("weights", weights)
        same_size("weights", given, "flow", field)
        share = share * given[:, :1].to(maps)
    landed = operators.splat(torch.cat([share, torch.where(known, maps, 0.0) * share], dim=1), field.to(maps))
    density = landed[:, :1]
    # Relative to the weights: they may all be small.
    empty = density <= _EMPTY * share.amax(dim=(1, 2, 3), keepdim=True)
    mean = landed[:, 1:] / torch.where(empty, 1.0, density)
    return kind.back(torch.where(empty, fill, mean))  # type: ignore[no-any-return]
