"""Encoders and decoders of stochastic video generation: DCGAN's, VGG's, and SVG's shallow VGG that keeps 8x8 maps.

Denton, Fergus: "Stochastic Video Generation with a Learned Prior", ICML 2018 (SVG-LP); Villegas et al.: "High Fidelity
Video Prediction with Large Stochastic Recurrent Neural Networks", NeurIPS 2019 (the shallow one). An encoder gives a
code and the maps before each reduction ("skips", fine to coarse); a decoder takes both.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


def normalised(layer: nn.Module, channels: int, activation: nn.Module | None = None) -> nn.Sequential:
    """A layer, BatchNorm, and an activation (leaky ReLU of slope 0.2)."""
    return nn.Sequential(layer, nn.BatchNorm2d(channels), activation or nn.LeakyReLU(SLOPE))


def convolutions(inputs: int, channels: Sequence[int]) -> nn.Sequential:
    """3x3 convolutions in a row, each normalised."""
    layers = []
    for outputs in channels:
        layers.append(normalised(nn.Conv2d(inputs, outputs, 3, padding=1), outputs))
        inputs = outputs
    return nn.Sequential(*layers)


class DcganEncoder(nn.Module):
    """Strided 4x4 convolutions, then one over all that is left: 64 pixels a side take four of them, 128 five."""

    def __init__(self, channels: Sequence[int], code: int, colours: int = 3) -> None:
        super().__init__()
        sizes = (colours, *channels)
        self.stages = nn.ModuleList(
            normalised(nn.Conv2d(a, b, 4, stride=2, padding=1), b) for a, b in itertools.pairwise(sizes)
        )
        self.code = normalised(nn.Conv2d(channels[-1], code, 4), code, nn.Tanh())

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B,3,S,S) -> code (B,G) and skips."""
        skips = []
        for stage in self.stages:
            frames = stage(frames)
            skips.append(frames)
        return self.code(frames).flatten(1), skips


class DcganDecoder(nn.Module):
    """The encoder's mirror image; every stage also reads the skip of its size."""

    def __init__(self, channels: Sequence[int], code: int, colours: int = 3) -> None:
        super().__init__()
        coarse_to_fine = tuple(reversed(channels))
        self.start = normalised(nn.ConvTranspose2d(code, coarse_to_fine[0], 4), coarse_to_fine[0])
        self.stages = nn.ModuleList(
            normalised(nn.ConvTranspose2d(2 * a, b, 4, stride=2, padding=1), b)
            for a, b in itertools.pairwise(coarse_to_fine)
        )
        self.end = nn.ConvTranspose2d(2 * coarse_to_fine[-1], colours, 4, stride=2, padding=1)

    def forward(self, code: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Code (B,G) and the encoder's skips -> frames (B,3,S,S) in [0,1]."""
        maps = self.start(code[..., None, None])
        for stage, skip in zip(self.stages, reversed(skips), strict=False):
            maps = stage(torch.cat([maps, skip], dim=1))
        return torch.sigmoid(self.end(torch.cat([maps, skips[0]], dim=1)))


class VggEncoder(nn.Module):
    """Stages of 3x3 convolutions with maxima of 2x2 in between; a skip is a stage's output.

    Args:
        stages: channels of each stage's convolutions.
        code: channels of the code.
        whole: whether a last 4x4 convolution leaves a vector; else a 3x3 one keeps maps, without norm or activation.
    """

    def __init__(self, stages: Sequence[Sequence[int]], code: int, *, whole: bool, colours: int = 3) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        inputs = colours
        for channels in stages:
            self.stages.append(convolutions(inputs, channels))
            inputs = channels[-1]
        self.whole = whole
        last = nn.Conv2d(inputs, code, 4) if whole else nn.Conv2d(inputs, code, 3, padding=1)
        self.code = normalised(last, code, nn.Tanh()) if whole else last

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B,3,H,W) -> code (B,G), or maps (B,G,H/8,W/8), and skips."""
        skips = []
        for stage in self.stages:
            frames = stage(frames)
            skips.append(frames)
            frames = F.max_pool2d(frames, 2)
        code = self.code(frames)
        return code.flatten(1) if self.whole else code, skips


class VggDecoder(nn.Module):
    """Enlarges by repetition, reads the skip of the size, and convolves; the last layer is a transposed convolution.

    Args:
        stages: channels of each stage's convolutions, coarse to fine.
        skips: channels of the skips, coarse to fine.
        code: channels of the code.
        whole: as of the encoder.
    """

    def __init__(
        self, stages: Sequence[Sequence[int]], skips: Sequence[int], code: int, *, whole: bool, colours: int = 3
    ) -> None:
        super().__init__()
        inputs = skips[0]
        self.start = (
            normalised(nn.ConvTranspose2d(code, inputs, 4), inputs) if whole else nn.Conv2d(code, inputs, 3, padding=1)
        )
        self.stages = nn.ModuleList()
        for channels, skip in zip(stages, skips, strict=True):
            self.stages.append(convolutions(inputs + skip, channels))
            inputs = channels[-1]
        self.end = nn.ConvTranspose2d(inputs, colours, 3, padding=1)
        self.whole = whole

    def forward(self, code: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Code and the encoder's skips -> frames (B,3,H,W) in [0,1]."""
        maps = self.start(code[..., None, None] if self.whole else code)
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            maps = stage(torch.cat([F.interpolate(maps, scale_factor=2.0, mode="nearest"), skip], dim=1))
        return torch.sigmoid(self.end(maps))


def vgg_stages(size: int) -> tuple[tuple[int, ...], ...]:
    """The encoder's stages for frames of 64 or 128 pixels a side."""
    stages: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))
    return stages if size == 64 else (*stages, (512, 512, 512))


def mirrored_stages(stages: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The decoder's stages, coarse to fine: each ends with the channels of the next finer skip; the finest has one
    convolution, before the layer that makes colours."""
    mirrored = []
    for stage, finer in zip(reversed(stages), [*reversed(stages[:-1]), None], strict=True):
        mirrored.append((stage[0],) if finer is None else (*stage[:-1], finer[-1]))
    return mirrored
