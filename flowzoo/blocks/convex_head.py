"""Learned convex upsampling as RAFT has it: weights from the hidden state, zeros around the flow."""

import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution
from flowzoo.operators import convex_upsampling

LOGIT_SCALE = 0.25
"""Of the weights' logits, "to balance gradients" with the flow head."""


class ConvexHead(nn.Module):
    """State (B,inputs,h,w) and flow (B,2,h,w) -> flow (B,2,factor*h,factor*w) in pixels of the finer grid.

    Args:
        inputs: channels of the state.
        inner: channels inside.
        factor: of the size.
    """

    def __init__(self, inputs: int, inner: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.inside = convolution(inputs, inner)
        self.weights = convolution(inner, 9 * factor**2, 1)

    def forward(self, state: Tensor, flow: Tensor) -> Tensor:
        """See the class. What is outside the flow counts as zero, so it pulls the border towards zero."""
        # The operator repeats the border; a rim of zeros around the flow, cut off again, makes that zeros.
        inside = F.pad(F.relu(self.inside(state), inplace=True), (1, 1, 1, 1))
        layer = self.weights
        logits = F.conv2d(inside, layer.weight * LOGIT_SCALE, None if layer.bias is None else layer.bias * LOGIT_SCALE)
        rim = self.factor
        fine = convex_upsampling(F.pad(flow, (1, 1, 1, 1)), logits, self.factor)
        return fine[..., rim:-rim, rim:-rim]
