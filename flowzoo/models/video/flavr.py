"""FLAVR: frame interpolation without flow, by 3-D convolutions over two or four frames.

Kalluri et al.: "FLAVR: Flow-Agnostic Video Representations for Fast Frame Interpolation", WACV 2023, section 3. An
18-layer 3-D ResNet without striding in time, a decoder of transposed convolutions, and after each block a gate that
weighs channels by their mean over space and time.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.resize import resize
from flowzoo.network import VideoNetwork, VideoPrediction

if TYPE_CHECKING:
    from flowzoo.zoo.flavr import FlavrSettings

MULTIPLE = 8
SLOPE = 0.2


class Gate(nn.Module):
    """Spatio-temporal feature gating (section 3.2): every channel by a sigmoid of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv3d(channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C,T,h,w) -> the same shape."""
        return maps * torch.sigmoid(self.weigh(maps.mean(dim=(2, 3, 4), keepdim=True)))


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions, a gate, and the shortcut, which a 1x1x1 convolution fits where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, bias: bool) -> None:
        super().__init__()
        self.first = nn.Conv3d(inputs, outputs, 3, stride=(1, stride, stride), padding=1, bias=bias)
        self.second = nn.Conv3d(outputs, outputs, 3, padding=1, bias=bias)
        self.gate = Gate(outputs)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Conv3d(inputs, outputs, 1, stride=(1, stride, stride), bias=False)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C,T,h,w) -> (B,D,T,h/stride,w/stride)."""
        changed = self.gate(self.second(F.relu(self.first(maps))))
        return F.relu(changed + self.shortcut(maps))


class Encoder(nn.Module):
    """A stem and four stages, at 1/2, 1/2, 1/4, 1/8 and 1/8 of the size."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=bias)
        stages = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 1))
        self.stages = nn.ModuleList(
            nn.Sequential(ResidualBlock(a, b, stride, bias=bias), ResidualBlock(b, b, 1, bias=bias))
            for a, b, stride in stages
        )

    def forward(self, frames: Tensor) -> list[Tensor]:
        """(B,3,T,H,W) -> maps of stem and stages."""
        maps = [F.relu(self.stem(frames))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


class Enlarge(nn.Module):
    """A 3-D convolution, transposed to double height and width, or plain; then a gate."""

    def __init__(self, inputs: int, outputs: int, *, double: bool) -> None:
        super().__init__()
        self.layer = (
            nn.ConvTranspose3d(inputs, outputs, (3, 4, 4), stride=(1, 2, 2), padding=1)
            if double
            else nn.Conv3d(inputs, outputs, 3, padding=1)
        )
        self.gate = Gate(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C,T,h,w) -> (B,D,T,2h,2w) or (B,D,T,h,w)."""
        gated: Tensor = self.gate(self.layer(maps))
        return gated


class Flavr(VideoNetwork):
    """Two or four frames in, one, three or seven frames in between out.

    Frames whose sides are no multiples of 8 are resized bilinearly to the next smaller ones (at least 8), and the
    result back, as the authors do.
    """

    def __init__(self, settings: "FlavrSettings") -> None:
        super().__init__()
        self.frames_in = settings.inputs
        self.outputs = settings.outputs
        self.encoder = Encoder(bias=settings.outputs > 1)
        self.decoder = nn.ModuleList(
            (
                Enlarge(512, 256, double=False),
                Enlarge(512, 128, double=True),
                Enlarge(256, 64, double=True),
                Enlarge(128, 64, double=False),
                Enlarge(128, 64, double=True),
            )
        )
        self.fuse = nn.Conv2d(64 * settings.inputs, 64, 1, bias=False)
        self.colours = nn.Conv2d(64, 3 * settings.outputs, 7)
        for layer in self.encoder.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def predict(self, frames: Tensor) -> VideoPrediction:
        """(B,inputs,3,H,W) -> (B,outputs,3,H,W), in temporal order, between the middle two frames."""
        batch, count, _, height, width = frames.shape
        inner = (max(MULTIPLE, height // MULTIPLE * MULTIPLE), max(MULTIPLE, width // MULTIPLE * MULTIPLE))
        if inner != (height, width):
            frames = resize(frames.flatten(0, 1), inner).unflatten(0, (batch, count))
        mean = frames.mean(dim=(1, 3, 4), keepdim=True)
        made = self.colours(F.pad(self._fused((frames - mean).transpose(1, 2)), (3, 3, 3, 3), mode="reflect"))
        made = made.unflatten(1, (self.outputs, 3)) + mean
        if inner != (height, width):
            made = resize(made.flatten(0, 1), (height, width)).unflatten(0, (batch, self.outputs))
        return VideoPrediction(made)

    def _fused(self, frames: Tensor) -> Tensor:
        """(B,3,T,H,W) -> (B,64,H,W)."""
        *skips, maps = self.encoder(frames)
        for enlarge, skip in zip(self.decoder, [*reversed(skips), None], strict=True):
            maps = F.leaky_relu(enlarge(maps), SLOPE)
            if skip is not None:
                maps = torch.cat([maps, skip], dim=1)
        # Channels of all frames one after another, the first frame's first.
        return F.leaky_relu(self.fuse(maps.transpose(1, 2).flatten(1, 2)), SLOPE)
