"""What operators compute in."""

import torch
from torch import Tensor


def working_dtype(maps: Tensor) -> torch.dtype:
    """float64 stays; everything smaller is computed in float32."""
    return torch.float64 if maps.dtype == torch.float64 else torch.float32
