"""PWC-Net's context network: dilated convolutions that refine the last flow."""

from torch import Tensor, nn

from flowzoo.blocks.convolution import ConvolutionStack, convolution, leaky
from flowzoo.blocks.precision import flow_head

LAYERS = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))
"""(channels, dilation) of each hidden convolution."""
REACH = sum(dilation for _, dilation in LAYERS) + 1
"""Rows that an output pixel sees on either side."""


class ContextNetwork(ConvolutionStack):
    """(B,C,H,W) -> a flow residual (B,2,H,W)."""

    def __init__(self, inputs: int) -> None:
        layers: list[nn.Module] = []
        for channels, dilation in LAYERS:
            layers += [convolution(inputs, channels, dilation=dilation), leaky()]
            inputs = channels
        super().__init__(*layers, flow_head(inputs))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return super().forward(features)
