"""Which type numbers have: convolutions may run in a half type, flow is float32 or better wherever it is carried.

A bfloat16 number has 8 bits: beyond 64 pixels it moves in steps of half a pixel. So the layers that flow comes from or
goes through are the ones below, whose result has at least float32 under autocast and in networks of a half type, too.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import Convolution, untraced_inference
from flowzoo.blocks.upsampling import BilinearDoubling
from flowzoo.operators.convolution import convolve_partly_lowered
from flowzoo.operators.precision import without_autocast


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32, or in float64 if that is their type."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def matched_exactly(network: nn.Module, maps: Tensor) -> AbstractContextManager[None]:
    """A block that autocast leaves alone outside training: for what decides which pixels match.

    Where several places of the second image fit about as well, a difference of one part in 256 chooses another one,
    many pixels away. Training sees all choices of many pairs, and is better served by the time that a half type saves.
    """
    return nullcontext() if network.training else without_autocast(maps.device)


class FlowConvolution(Convolution):
    """A convolution whose result is flow (or a part of it)."""

    def forward(self, input: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,2,H,W), float32 or better."""
        if input.dtype == torch.bfloat16 and untraced_inference(input):
            return self.of_lowered(input, input[:, :0], 0)
        with without_autocast(input.device):
            weight, bias = at_least_float32(self.weight), None if self.bias is None else at_least_float32(self.bias)
            return self._conv_forward(input.to(weight.dtype), weight, bias)

    def of_lowered(self, maps: Tensor, exact: Tensor, at: int) -> Tensor:
        """The same of maps (B,C,H,W) of a half type whose channels from `at` on are known as `exact` (B,D,H,W)."""
        if exact.shape[1] == maps.shape[1]:
            return self.forward(exact)
        rows, columns = self.padding[0], self.padding[1]
        with without_autocast(maps.device):
            weight, bias = at_least_float32(self.weight), None if self.bias is None else at_least_float32(self.bias)
            return convolve_partly_lowered(maps, exact, at, weight, bias, (int(rows), int(columns)))


class FlowDoubling(nn.ConvTranspose2d):
    """A learned 4x4, stride-2 transposed convolution from flow to flow at twice the size; values are not scaled."""

    def __init__(self) -> None:
        super().__init__(2, 2, 4, stride=2, padding=1)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B,2,H,W) -> (B,2,2H,2W), float32 or better."""
        with without_autocast(input.device):
            weight, bias = at_least_float32(self.weight), None if self.bias is None else at_least_float32(self.bias)
            return F.conv_transpose2d(input.to(weight.dtype), weight, bias, stride=2, padding=1)


class BilinearFlowDoubling(BilinearDoubling):
    """`BilinearDoubling` of flow."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, maps: Tensor) -> Tensor:
        """(B,2,H,W) -> (B,2,2H,2W), float32 or better."""
        with without_autocast(maps.device):
            maps = at_least_float32(maps)
            return F.conv_transpose2d(maps, self.weight.to(maps.dtype), stride=2, padding=1, groups=2)


def flow_head(inputs: int, kernel: int = 3) -> FlowConvolution:
    """A convolution to flow whose padding keeps the size: (B,inputs,H,W) -> (B,2,H,W)."""
    return FlowConvolution(inputs, 2, kernel, padding=kernel // 2)
