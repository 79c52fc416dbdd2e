"""Convolution with leaky ReLU in PyTorch: the definition of `convolve`."""

import torch.nn.functional as F
from torch import Tensor


def convolve(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    slope: float,
) -> Tensor:
    """(B,C,H,W), (D,C,h,w), (D) -> (B,D,H',W')."""
    result = F.conv2d(maps, weight, bias, stride, padding, dilation)
    return result if slope == 1 else F.leaky_relu(result, slope, inplace=True)
