"""The weighted median at motion boundaries in plain torch: the definition of `boundary_median`."""

import torch
from torch import Tensor

from flowzoo.operators.precision import working_dtype

REACH = 2
"""Neighbours to each side."""


def boundary_median(
    colours: Tensor, flow: Tensor, trust: Tensor, spacing: int, disagreement: float, likeness: float
) -> Tensor:
    """(B,3,H,W), (B,2,H,W), (B,1,H,W) -> (B,2,H,W)."""
    dtype, kept = working_dtype(flow), flow.dtype
    colours, flow, trust = colours.to(dtype), flow.to(dtype), trust.to(dtype)
    height, width = flow.shape[-2:]
    spacing = min(spacing, max(height, width))
    steps = torch.arange(-REACH, REACH + 1, device=flow.device) * spacing
    ranges = [_extremes(flow, steps, sign) for sign in (1, -1)]
    sample, y, x = ((ranges[0] + ranges[1]).amax(dim=1) > disagreement).nonzero(as_tuple=True)
    rows = (y[:, None, None] + steps[:, None]).clamp(0, height - 1)
    columns = (x[:, None, None] + steps).clamp(0, width - 1)
    around = (slice(None), sample[:, None, None], rows, columns)
    colours, trust = colours.transpose(0, 1), trust[:, 0]
    difference = (colours[around] - colours[:, sample, y, x][..., None, None]).square().sum(dim=0)
    weights = (trust[around[1:]] * torch.exp(-difference / (2 * likeness**2))).flatten(1)
    result = flow.clone(memory_format=torch.contiguous_format)
    for component in range(2):
        values, order = flow[:, component][around[1:]].flatten(1).sort(dim=1)
        sums = weights.gather(1, order).cumsum(dim=1)
        place = (sums < sums[:, -1:] / 2).sum(dim=1, keepdim=True)
        result[sample, component, y, x] = values.gather(1, place).squeeze(1)
    return result.to(kept)


def _extremes(flow: Tensor, steps: Tensor, sign: int) -> Tensor:
    """The largest of sign * flow among the neighbours of each pixel, edges replicated."""
    height, width = flow.shape[-2:]
    rows, columns = torch.arange(height, device=flow.device), torch.arange(width, device=flow.device)
    flow = sign * flow
    flow = torch.stack([flow[:, :, (rows + step).clamp(0, height - 1)] for step in steps]).amax(dim=0)
    return torch.stack([flow[..., (columns + step).clamp(0, width - 1)] for step in steps]).amax(dim=0)
