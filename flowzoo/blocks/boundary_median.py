"""Weighted median of a flow where motions meet: sharper boundaries.

Each component of the flow becomes the weighted median of 25 neighbours, one in three pixels to each side. A neighbour
weighs more the more its colour is like that of the pixel and the more reliable its own flow is. Pixels whose
neighbours agree keep their flow. After Sun, Roth, Black: "Secrets of Optical Flow Estimation and Their Principles",
CVPR 2010, with another measure of reliability and without their weight by distance, which changes nothing here. Not
differentiable: a step after the network.
"""

import torch
from torch import Tensor

from flowzoo.blocks.relaxation import run_kernel
from flowzoo.blocks.variational import reliability
from flowzoo.operators import warp

REACH = 2  # neighbours to each side
SPACING = 3  # pixels between them
DISAGREEMENT = 2.0  # pixels: neighbours whose flows differ by less are left alone
LIKENESS = 10.0  # grey levels: standard deviation of the weight by colour


@torch.no_grad()
def boundary_median(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """A flow with sharper boundaries.

    Args:
        first, second: (B,3,H,W) RGB in [0,1].
        flow: (B,2,H,W), pixels.

    Returns:
        (B,2,H,W) float32.
    """
    flow = flow.float().contiguous()
    if flow.numel() == 0:
        return flow
    first, second = (image.float() * 255 for image in (first, second))
    grey = first.mean(dim=1, keepdim=True)
    trust = reliability(warp(second.mean(dim=1, keepdim=True), flow) - grey)
    batch, _, height, width = flow.shape
    result = torch.empty_like(flow)
    integers = batch, height, width, SPACING
    if run_kernel("flowzoo_boundary_median", (first, flow, trust), result, integers, (DISAGREEMENT, LIKENESS)):
        return result
    return portable_median(first, flow, trust)


def portable_median(colours: Tensor, flow: Tensor, trust: Tensor) -> Tensor:
    """The median of `boundary_median`, from colours (B,3,H,W) in 0..255 and reliabilities (B,1,H,W)."""
    height, width = flow.shape[-2:]
    steps = torch.arange(-REACH, REACH + 1, device=flow.device) * SPACING
    ranges = [_extremes(flow, steps, sign) for sign in (1, -1)]
    sample, y, x = ((ranges[0] + ranges[1]).amax(dim=1) > DISAGREEMENT).nonzero(as_tuple=True)
    rows = (y[:, None, None] + steps[:, None]).clamp(0, height - 1)
    columns = (x[:, None, None] + steps).clamp(0, width - 1)
    around = (slice(None), sample[:, None, None], rows, columns)
    colours, trust = colours.transpose(0, 1), trust[:, 0]
    difference = (colours[around] - colours[:, sample, y, x][..., None, None]).square().sum(dim=0)
    weights = (trust[around[1:]] * torch.exp(-difference / (2 * LIKENESS**2))).flatten(1)
    result = flow.clone()
    for component in range(2):
        values, order = flow[:, component][around[1:]].flatten(1).sort(dim=1)
        sums = weights.gather(1, order).cumsum(dim=1)
        place = (sums < sums[:, -1:] / 2).sum(dim=1, keepdim=True)
        result[sample, component, y, x] = values.gather(1, place).squeeze(1)
    return result


def _extremes(flow: Tensor, steps: Tensor, sign: int) -> Tensor:
    """The largest of sign * flow among the neighbours of each pixel, edges replicated."""
    height, width = flow.shape[-2:]
    rows, columns = torch.arange(height, device=flow.device), torch.arange(width, device=flow.device)
    flow = sign * flow
    flow = torch.stack([flow[:, :, (rows + step).clamp(0, height - 1)] for step in steps]).amax(dim=0)
    return torch.stack([flow[..., (columns + step).clamp(0, width - 1)] for step in steps]).amax(dim=0)
