"""GLU-Net's decoders: 3x3 convolutions with batch norm that read correlations.

Truong, Danelljan, Timofte: "GLU-Net: Global-Local Universal Network for Dense Flow and Correspondences", CVPR 2020.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.context import LAYERS
from flowzoo.blocks.convolution import SLOPE, as_weights, convolution
from flowzoo.blocks.precision import flow_head

GROWTH = (128, 128, 96, 64, 32)
"""Output channels of the convolutions in a decoder."""


class NormedLayer(nn.Module):
    """3x3 convolution with bias, batch norm, and a leaky ReLU; slope 0 is a ReLU."""

    def __init__(self, inputs: int, outputs: int, *, dilation: int = 1, slope: float = SLOPE) -> None:
        super().__init__()
        self.convolution = convolution(inputs, outputs, dilation=dilation)
        self.norm = nn.BatchNorm2d(outputs)
        self.slope = slope

    def forward(self, maps: Tensor) -> Tensor:
        """(B,inputs,H,W) -> (B,outputs,H,W)."""
        layer, norm = self.convolution, self.norm
        if self.training or torch.is_grad_enabled():
            result = norm(layer(maps))
        else:
            # In evaluation both are one convolution.
            mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            scale = norm.weight * torch.rsqrt(variance + norm.eps)
            bias = (cast(Tensor, layer.bias) - mean) * scale + norm.bias
            weight = layer.weight * scale.view(-1, 1, 1, 1)
            result = layer.with_weights(maps, weight, bias)
        return F.leaky_relu(result, self.slope, inplace=True)


class MappingDecoder(nn.Module):
    """Global correlation -> for each position its place in the other image, in [-1,1] on both axes.

    Args:
        positions: of the other image's grid.
    """

    def __init__(self, positions: int) -> None:
        super().__init__()
        # Two more inputs stand for a mapping from a coarser level; there is none, they are zero.
        inputs = positions + 2
        layers = []
        for outputs in GROWTH:
            layers.append(NormedLayer(inputs, outputs, slope=0.0))
            inputs = outputs
        self.layers = nn.ModuleList(layers)
        self.mapping = flow_head(inputs)

    def forward(self, scores: Tensor) -> Tensor:
        """(B,positions,H,W) -> (B,2,H,W), x then y."""
        maps = torch.cat([scores, scores.new_zeros((scores.shape[0], 2, *scores.shape[2:]))], dim=1)
        for layer in self.layers:
            maps = layer(maps)
        return cast(Tensor, self.mapping(maps))


class ResidualFlowDecoder(nn.Module):
    """Densely connected layers, new maps in front, and the flow residual they give."""

    def __init__(self, inputs: int, growth: Sequence[int] = GROWTH) -> None:
        super().__init__()
        layers = []
        for outputs in growth:
            layers.append(NormedLayer(inputs, outputs))
            inputs += outputs
        self.layers = nn.ModuleList(layers)
        self.outputs = inputs
        self.flow = flow_head(inputs)

    def forward(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Tensors (B,C_i,H,W) that make up the input -> the flow residual (B,2,H,W), all maps (B,outputs,H,W)."""
        maps = as_weights(torch.cat(list(parts), dim=1), self.flow.weight)
        for layer in self.layers:
            maps = torch.cat([layer(maps), maps], dim=1)
        return self.flow(maps), maps


class NormedContext(nn.Sequential):
    """Dilated convolutions with batch norm that refine a flow: (B,inputs,H,W) -> residual (B,2,H,W)."""

    def __init__(self, inputs: int) -> None:
        layers: list[nn.Module] = []
        for channels, dilation in LAYERS:
            layers.append(NormedLayer(inputs, channels, dilation=dilation))
            inputs = channels
        super().__init__(*layers, flow_head(inputs))
