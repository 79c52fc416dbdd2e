"""A decoder's input in plain torch: the definition of `decoder_input`."""

import torch
import torch.nn.functional as F
from torch import Tensor


def decoder_input(cost: Tensor, features: Tensor, others: Tensor, slope: float, gain: float) -> Tensor:
    """(B,K,H,W), (B,C,H,W), (B,D,H,W) -> (B,K+C+D,H,W)."""
    joined = torch.cat([F.leaky_relu(cost, slope) * gain, features, others], dim=1)
    return joined.contiguous(memory_format=torch.channels_last)
