"""Neighbourhood consensus: filtering a 4D correlation volume with 4D convolutions, and mutual matching.

Rocco et al.: "Neighbourhood Consensus Networks", NeurIPS 2018, sections 3.2 and 3.3. Volumes are (B,C,H1,W1,H2,W2).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mutual_matching(volume: Tensor) -> Tensor:
    """Every score times its ratio to the best of its row and to the best of its column.

    Args:
        volume: (B,N,H,W): scores of the N positions of one image for each position of the other.

    Returns:
        The same shape.
    """
    best_position = volume.amax(dim=1, keepdim=True)
    best_pixel = volume.amax(dim=(2, 3), keepdim=True)
    return volume * (volume / (best_position + 1e-5)) * (volume / (best_pixel + 1e-5))


class Conv4d(nn.Module):
    """A 4D convolution with zero padding that keeps the size: a sum of 3D ones over the first kernel axis.

    The weight is stored as (k, outputs, inputs, k, k, k).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel, outputs, inputs, kernel, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        bound = (inputs * kernel**4) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, volume: Tensor) -> Tensor:
        """(B,inputs,A,B,C,D) -> (B,outputs,A,B,C,D)."""
        kernel, outputs, inputs = self.weight.shape[:3]
        batch, _, a, b, c, d = volume.shape
        # All kernel slices at once, then each slice's result is added one step further along the first axis.
        slices = volume.transpose(1, 2).reshape(batch * a, inputs, b, c, d)
        weight = self.weight.flatten(0, 1)
        parts = F.conv3d(slices, weight, padding=kernel // 2).view(batch, a, kernel, outputs, b, c, d)
        reach = kernel // 2
        result = self.bias.view(1, 1, -1, 1, 1, 1).expand(batch, a, outputs, b, c, d).clone()
        for index in range(kernel):
            shift = index - reach
            low, high = max(0, -shift), min(a, a - shift)
            if low < high:
                result[:, low:high] += parts[:, low + shift : high + shift, index]
        return result.transpose(1, 2)


class NeighbourhoodConsensus(nn.Module):
    """4D convolutions, each with a ReLU, applied to the volume and to its transpose, and added up.

    Args:
        channels: outputs of each layer; the last must be 1.
        kernel: side of the 4D kernels.
    """

    def __init__(self, channels: Sequence[int] = (10, 10, 1), kernel: int = 3) -> None:
        super().__init__()
        layers, inputs = [], 1
        for outputs in channels:
            layers.append(Conv4d(inputs, outputs, kernel))
            inputs = outputs
        self.layers = nn.ModuleList(layers)

    def one_way(self, volume: Tensor) -> Tensor:
        """The layers alone: (B,1,H1,W1,H2,W2) -> the same shape."""
        for layer in self.layers:
            volume = F.relu(layer(volume))
        return volume

    def forward(self, volume: Tensor) -> Tensor:
        """(B,1,H1,W1,H2,W2) -> the same shape; the same whichever image is called the first."""
        swapped = volume.permute(0, 1, 4, 5, 2, 3)
        return self.one_way(volume) + self.one_way(swapped).permute(0, 1, 4, 5, 2, 3)
