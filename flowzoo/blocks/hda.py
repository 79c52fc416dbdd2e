"""HD3's decoders: from one level's costs, features and flow to the logits of a match density.

Yin, Darrell, Yu: HD3 (CVPR 2019), section 3.3.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import Convolution
from flowzoo.blocks.normalised_convolution import BatchNorm, NormalisedConvolution, overwrite
from flowzoo.operators.convolution import convolve_parts

WIDTH = 128
DILATIONS = (1, 1, 2, 4, 8, 16, 1)
"""Of the context module's convolutions."""


class PreactivatedBlock(nn.Module):
    """Residual block whose norm and ReLU come first (or not at all in front of its first convolution)."""

    def __init__(self, inputs: int, outputs: int, *, normalise: bool) -> None:
        super().__init__()
        self.norm = BatchNorm(inputs) if normalise else None
        self.first = NormalisedConvolution(inputs, outputs)
        self.second = Convolution(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, maps: Tensor) -> Tensor:
        """(B,inputs,H,W) -> (B,outputs,H,W)."""
        seen = maps if self.norm is None else F.relu(self.norm(maps), inplace=True)
        skip = maps if self.shortcut is None else self.shortcut(seen)
        unit: Tensor = self.second(self.first(seen)).add_(skip)
        return unit


class Mapping(nn.Module):
    """Two blocks, and with `aggregate` a node that merges both outputs."""

    def __init__(self, inputs: int, outputs: int, *, aggregate: bool) -> None:
        super().__init__()
        self.first = PreactivatedBlock(inputs, outputs, normalise=False)
        self.second = PreactivatedBlock(outputs, outputs, normalise=True)
        self.root = None
        if aggregate:
            layer = nn.Conv2d(2 * outputs, outputs, 1, bias=False)
            self.root = nn.Sequential(BatchNorm(2 * outputs), nn.ReLU(inplace=True), layer)

    def forward(self, maps: Tensor) -> Tensor:
        """(B,inputs,H,W) -> (B,outputs,H,W)."""
        first = self.first(maps)
        second: Tensor = self.second(first)
        return second if self.root is None else self._merged(first, second)

    def _merged(self, first: Tensor, second: Tensor) -> Tensor:
        """Of both blocks' outputs, which are overwritten where that is no loss."""
        assert self.root is not None, "what merges them"
        norm, layer = cast(BatchNorm, self.root[0]), cast(nn.Conv2d, self.root[2])
        if not norm.can_overwrite(first):
            whole: Tensor = self.root(torch.cat([first, second], dim=1))
            return whole
        scales, shifts = (numbers.chunk(2) for numbers in norm.folded())
        parts = [overwrite(*each) for each in zip((first, second), scales, shifts, strict=True)]
        merged = convolve_parts(parts, layer.weight, layer.bias, 1, (0, 0), 1)
        return layer(torch.cat(parts, dim=1)) if merged is None else merged


class DensityDecoder(nn.Module):
    """One level's decoder.

    Args:
        inputs: channels that come in.
        bins: of the match density.
        aggregate: see `Mapping`.
        handed: channels of the features for the next level, at twice the size; 0 = none.
    """

    def __init__(self, inputs: int, bins: int, *, aggregate: bool, handed: int) -> None:
        super().__init__()
        self.mapping = Mapping(inputs, WIDTH, aggregate=aggregate)
        self.classify = nn.Sequential(BatchNorm(WIDTH), nn.ReLU(inplace=True), nn.Conv2d(WIDTH, bins, 1))
        self.enlarge = None
        if handed:
            layer = nn.ConvTranspose2d(WIDTH, handed, 4, stride=2, padding=1, bias=False)
            self.enlarge = nn.Sequential(
                BatchNorm(WIDTH), nn.ReLU(inplace=True), layer, BatchNorm(handed), nn.ReLU(inplace=True)
            )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B,inputs,H,W) -> logits (B,bins,H,W) and features (B,handed,2H,2W) or None."""
        hidden = self.mapping(maps)
        if self.enlarge is not None:
            return self.classify(hidden), self.enlarge(hidden)
        norm = cast(BatchNorm, self.classify[0])
        if not norm.can_overwrite(hidden):
            return self.classify(hidden), None
        return self.classify[2](overwrite(hidden, *norm.folded())), None


class ContextDecoder(nn.Module):
    """The finest decoder of `hd3-context`: dilated convolutions."""

    def __init__(self, inputs: int, bins: int) -> None:
        super().__init__()
        layers = []
        for dilation in DILATIONS:
            layers.append(NormalisedConvolution(inputs, WIDTH, dilation=dilation))
            inputs = WIDTH
        self.layers = nn.Sequential(*layers)
        self.classify = nn.Conv2d(WIDTH, bins, 1)

    def forward(self, maps: Tensor) -> tuple[Tensor, None]:
        """(B,inputs,H,W) -> logits (B,bins,H,W); nothing is handed on."""
        return self.classify(self.layers(maps)), None
