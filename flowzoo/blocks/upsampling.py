"""Doubling the size of flow and cost maps."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import untraced_inference
from flowzoo.operators.channel_doubling import channel_doubling
from flowzoo.operators.convolution import convolve_few


class BilinearDoubling(nn.Module):
    """Channel-wise transposed convolution (4x4, stride 2) with fixed weights, bilinear unless a checkpoint differs.

    Values are not scaled. The weights are a buffer: they are stored and loaded, not learned.
    """

    weight: Tensor
    rows_seen = 2
    """Of the result's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        profile = torch.tensor([0.25, 0.75, 0.75, 0.25])
        self.register_buffer("weight", torch.outer(profile, profile).repeat(channels, 1, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,2H,2W)."""
        return channel_doubling(maps, self.weight)


class Doubling(nn.ConvTranspose2d):
    """A learned 4x4, stride-2 transposed convolution with bias.

    Each of a pixel's four new ones sees 2x2 pixels of its 3x3 window. So few outputs are those of a 3x3 convolution
    with four times as many, which kernels on the CPU do while they read the maps once.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B,inputs,H,W) -> (B,outputs,2H,2W)."""
        if untraced_inference(input):
            bias = None if self.bias is None else self.bias.repeat_interleave(4)
            four = convolve_few(input, self._window(), bias)
            if four is not None:
                return F.pixel_shuffle(four, 2)
        return super().forward(input, output_size)

    def _window(self) -> Tensor:
        """The weights of the 3x3 convolution, (4 outputs,inputs,3,3): four for each output, row by row."""
        weight = self.weight.movedim(0, 1)
        window = weight.new_zeros((weight.shape[0], 2, 2, weight.shape[1], 3, 3))
        for row, column in itertools.product((0, 1), repeat=2):
            # Row y of the maps meets row 2y + ky - 1 of the result.
            rows, columns = ([3, 1] if phase == 0 else [2, 0] for phase in (row, column))
            taps = weight[:, :, rows][..., columns]
            window[:, row, column, :, row : row + 2, column : column + 2] = taps
        return window.flatten(0, 2)


def doubling(inputs: int, outputs: int) -> Doubling:
    """(B,inputs,H,W) -> (B,outputs,2H,2W)."""
    return Doubling(inputs, outputs)
