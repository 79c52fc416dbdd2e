"""Both images' maps of each pair in plain torch: the definition of `paired_planes`."""

import torch
from torch import Tensor


def paired_planes(maps: Tensor) -> Tensor:
    """(2B,C,H,W) -> (B,C,2,H,W)."""
    batch = maps.shape[0] // 2
    planes = maps.contiguous()
    return torch.stack([planes[:batch], planes[batch:]], dim=2)
