"""Frames between two frames, from the flow in both directions.

For a moment t between first (0) and second (1), the motion field gives for each pixel of the new frame the whole motion
of the point that is seen there: the frame is first(x - t v) and second(x + (1 - t) v). No single way to get the field
is right everywhere, so several are tried and blended by how well the two frames agree about each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators import splat

BRIGHTNESS, RETURN = 20.0, 0.5
"""How fast a pixel's weight in splatting falls with the difference of colours (of 1) and with pixels from where the way
there and back ends."""
AGREEMENT = 30.0
"""How fast a field's weight falls with the difference between the two frames that it brings together (of 1)."""
SMOOTHING, REACH = 3.0, 6
"""Deviation and half size, pixels, of the Gaussian over which that difference is taken."""
_EMPTY = 1e-3


def between(first: Tensor, second: Tensor, flow: Tensor, backward: Tensor, time: float) -> Tensor:
    """The frame at `time`.

    Args:
        first, second: (B,3,H,W) in [0,1].
        flow, backward: (B,2,H,W) in pixels, from first to second and back.
        time: 0 = first, 1 = second.

    Returns:
        (B,3,H,W) in [0,1].
    """
    total = torch.zeros_like(first)
    weights = torch.zeros_like(first[:, :1])
    for motion in motions_at(first, second, flow, backward, time):
        one, two = sample(first, -time * motion), sample(second, (1 - time) * motion)
        weight = torch.exp(-AGREEMENT * _blurred((one - two).abs().mean(dim=1, keepdim=True)))
        total += weight * ((1 - time) * one + time * two)
        weights += weight
    return (total / weights.clamp(min=1e-20)).clamp(0, 1)


def motions_at(first: Tensor, second: Tensor, flow: Tensor, backward: Tensor, time: float) -> list[Tensor]:
    """Six motion fields at `time`, (B,2,H,W) each: of the points that land at a pixel, from first and from second
    (splatted, holes filled); of the point that a frame has at the same pixel; and that, corrected once."""
    fields = [
        projected(first, second, flow, backward, time),
        -projected(second, first, backward, flow, 1 - time),
    ]
    for motion, part in ((flow, -time), (-backward, 1 - time)):
        fields += [motion, sample(motion, part * motion, mode="bilinear")]
    return fields


def half_flow(first: Tensor, second: Tensor, flow: Tensor, backward: Tensor, time: float) -> Tensor:
    """The mean of both frames, each warped by its share of the other's flow; shapes as in `between`."""
    one, two = sample(first, time * backward, "bilinear"), sample(second, (1 - time) * flow, "bilinear")
    return ((1 - time) * one + time * two).clamp(0, 1)


def projected(first: Tensor, second: Tensor, flow: Tensor, backward: Tensor, time: float) -> Tensor:
    """The motions of the first frame's pixels where they are at `time`, (B,2,H,W); holes are filled from around.

    Where several meet, those count most whose colour the second frame confirms and whose way back leads home.
    """
    mismatch = (sample(second, flow, "bilinear") - first).abs().mean(dim=1, keepdim=True)
    away = (sample(backward, flow, "bilinear") + flow).square().sum(dim=1, keepdim=True).sqrt()
    weight = torch.exp(-BRIGHTNESS * mismatch - RETURN * away)
    landed = splat(torch.cat([weight, weight * flow], dim=1), time * flow)
    density = landed[:, :1]
    return filled(landed[:, 1:] / density.clamp(min=1e-12), density > _EMPTY)


def filled(values: Tensor, known: Tensor) -> Tensor:
    """`values` (B,C,H,W) where `known` (B,1,H,W) holds; elsewhere what is known around, from ever larger squares."""
    share = known.to(values.dtype)
    levels = [(values * share, share)]
    while max(levels[-1][0].shape[-2:]) > 1:
        levels.append(tuple(F.avg_pool2d(m, 2, ceil_mode=True, count_include_pad=False) for m in levels[-1]))  # type: ignore[arg-type]
    total, share = levels[-1]
    found = total / share.clamp(min=1e-12)
    for total, share in reversed(levels[:-1]):
        coarse = F.interpolate(found, total.shape[-2:], mode="bilinear", align_corners=False)
        found = total + (1 - share) * coarse
    return torch.where(known, values, found)


def sample(maps: Tensor, flow: Tensor, mode: str = "bicubic") -> Tensor:
    """`maps` (B,C,H,W) at p + flow(p), (B,C,H,W); borders are repeated. Bicubic keeps more of the detail."""
    height, width = maps.shape[-2:]
    x = flow[:, 0] + torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = flow[:, 1] + torch.arange(height, device=flow.device, dtype=flow.dtype).view(-1, 1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=False)


def _blurred(maps: Tensor) -> Tensor:
    """(B,1,H,W) smoothed; borders are repeated."""
    offsets = torch.arange(-REACH, REACH + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-offsets.square() / (2 * SMOOTHING**2))
    kernel = kernel / kernel.sum()
    maps = F.pad(maps, (REACH, REACH, REACH, REACH), mode="replicate")
    return F.conv2d(F.conv2d(maps, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
