"""Convolutional gated recurrent units whose input has a part that never changes.

RAFT's unit sees the context features in every iteration: what they add to its gates is computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution

Kernel = tuple[int, int]


@dataclass(frozen=True)
class Prepared:
    """What the constant input adds (with the biases), and the weights for what is left.

    Attributes:
        to_gates: (B,2*hidden,H,W). to_candidate: (B,hidden,H,W).
        gates, candidate: weights for the hidden state (reset, for the candidate) and the changing input.
    """

    to_gates: Tensor
    to_candidate: Tensor
    gates: Tensor
    candidate: Tensor


class GatedRecurrence(nn.Module):
    """One gated recurrent unit: h' = (1-z) h + z q with z, r = sigmoid(W [h,x]) and q = tanh(W [r h,x]).

    Args:
        hidden: channels of the state h.
        constant: channels of the part of x that stays.
        changing: channels of the part that does not.
        kernel: (rows, columns) of its convolutions.
    """

    def __init__(self, hidden: int, constant: int, changing: int, kernel: Kernel) -> None:
        super().__init__()
        self.hidden, self.constant = hidden, constant
        self.gates = convolution(hidden + constant + changing, 2 * hidden, kernel)
        self.candidate = convolution(hidden + constant + changing, hidden, kernel)

    def prepare(self, constant: Tensor) -> Prepared:
        """What all steps with the constant input (B,constant,H,W) share."""
        begin, end = self.hidden, self.hidden + self.constant
        added, left = [], []
        for layer in (self.gates, self.candidate):
            inside, padding = layer.weight[:, begin:end], cast(tuple[int, int], layer.padding)
            added.append(F.conv2d(constant, inside, layer.bias, padding=padding))
            rest = torch.cat([layer.weight[:, :begin], layer.weight[:, end:]], dim=1)
            left.append(rest.contiguous(memory_format=torch.channels_last))
        return Prepared(added[0], added[1], left[0], left[1])

    def forward(self, state: Tensor, changing: Tensor, prepared: Prepared) -> Tensor:
        """State (B,hidden,H,W) and changing input (B,changing,H,W) -> the next state."""
        padding = cast(tuple[int, int], self.gates.padding)
        seen = F.conv2d(torch.cat([state, changing], dim=1), prepared.gates, padding=padding)
        update, reset = torch.sigmoid(seen + prepared.to_gates).chunk(2, dim=1)
        seen = F.conv2d(torch.cat([reset * state, changing], dim=1), prepared.candidate, padding=padding)
        return torch.lerp(state, torch.tanh(seen + prepared.to_candidate), update)


def recurrences(hidden: int, constant: int, changing: int, kernels: Sequence[Kernel]) -> nn.ModuleList:
    """Units that run one behind the other in every step: RAFT has 1x5 and 5x1, RAFT-small one of 3x3."""
    return nn.ModuleList(GatedRecurrence(hidden, constant, changing, kernel) for kernel in kernels)
