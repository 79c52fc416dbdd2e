"""Images as variational refinement looks at them, in plain torch: the definitions of the operators."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators.precision import working_dtype


def smoothed_greys(images: Tensor, weights: Sequence[float]) -> Tensor:
    """(B,3,H,W) -> (B,1,H,W)."""
    height, width = images.shape[-2:]
    red, green, blue = images.to(working_dtype(images)).split(1, dim=1)
    greys: Tensor = (red + green).add_(blue).mul_(255 / 3)
    if greys.shape[0] == 0:  # which replicate padding refuses
        return greys.to(images.dtype)
    reach = len(weights) // 2
    padded = F.pad(greys, (reach, reach, reach, reach), mode="replicate")
    rows = _weighted(weights, [padded[..., i : i + width] for i in range(len(weights))])
    smooth = _weighted(weights, [rows[..., i : i + height, :] for i in range(len(weights))])
    return smooth.to(images.dtype).contiguous()


def contrasts(colours: Tensor) -> Tensor:
    """(B,3,H,W) -> (B,2,H,W)."""
    batch, _, height, width = colours.shape
    wide = colours.to(working_dtype(colours))
    result = wide.new_zeros(batch, 2, height, width)
    result[:, 0, :, :-1] = _largest(wide[..., 1:] - wide[..., :-1])
    result[:, 1, :-1] = _largest(wide[..., 1:, :] - wide[..., :-1, :])
    return result.to(colours.dtype)


def area_means(maps: Tensor, height: int, width: int) -> Tensor:
    """(B,C,H,W) -> (B,C,height,width)."""
    wide = maps.to(working_dtype(maps))
    if maps.shape[2:] == (2 * height, 2 * width):
        means = F.avg_pool2d(wide, 2)  # the same, and faster
    else:
        means = F.interpolate(wide, (height, width), mode="area")
    return means.to(maps.dtype).contiguous()


def _largest(differences: Tensor) -> Tensor:
    """Of the three components: (B,3,H,W) -> (B,H,W)."""
    red, green, blue = differences.abs().unbind(1)
    return torch.maximum(torch.maximum(red, green), blue)


def _weighted(weights: Sequence[float], maps: list[Tensor]) -> Tensor:
    """Sum of the maps, each times its weight."""
    total = maps[0] * weights[0]
    for weight, entry in zip(weights[1:], maps[1:], strict=True):
        total.add_(entry, alpha=weight)
    return total
