"""The convolutional frame predictor of "Comparing Correspondences" (Geng, Hamilton, Owens, CVPR 2022), Table A1.

Also its two-dimensional relative that the toy experiment (appendix A1) trains: an image from fixed noise.
"""

import itertools
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.network import PredictionNetwork, VideoPrediction

if TYPE_CHECKING:
    from flowzoo.zoo.predictor import PredictorSettings, ToyGeneratorSettings

MULTIPLE = 8


def activated(convolution: nn.Module, norm: nn.Module) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    return nn.Sequential(convolution, norm, nn.ReLU())


class Residual3d(nn.Module):
    """x + two 3x3x3 convolutions with BatchNorm, the first with ReLU; borders repeated, in time, too."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = activated(nn.Conv3d(channels, channels, 3), nn.BatchNorm3d(channels))
        self.second = nn.Sequential(nn.Conv3d(channels, channels, 3), nn.BatchNorm3d(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C,T,h,w) -> the same shape."""
        inside = self.first(F.pad(maps, (1, 1, 1, 1, 1, 1), mode="replicate"))
        changed: Tensor = maps + self.second(F.pad(inside, (1, 1, 1, 1, 1, 1), mode="replicate"))
        return changed


class Residual2d(nn.Module):
    """x + two 3x3 convolutions with BatchNorm, the first with ReLU; borders reflected."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = activated(nn.Conv2d(channels, channels, 3), nn.BatchNorm2d(channels))
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3), nn.BatchNorm2d(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C,h,w) -> the same shape."""
        changed: Tensor = maps + self.second(_reflected(self.first(_reflected(maps, 1)), 1))
        return changed


class Predictor(PredictionNetwork):
    """Any number of context frames in, the next frame out; more by feeding its own output back.

    Sides that are no multiples of 8 are padded by repeating the border, and the result is cropped.
    """

    def __init__(self, settings: "PredictorSettings") -> None:
        super().__init__()
        width = settings.width
        sizes = (width, 2 * width, 4 * width, 8 * width)
        self.begin = activated(nn.Conv3d(3, width, (3, 7, 7)), nn.BatchNorm3d(width))
        self.reduce = nn.Sequential(
            *(
                activated(nn.Conv3d(a, b, 3, stride=(1, 2, 2), padding=1), nn.BatchNorm3d(b))
                for a, b in itertools.pairwise(sizes)
            )
        )
        self.motion = nn.Sequential(*(Residual3d(sizes[-1]) for _ in range(2)))
        self.frame = nn.Sequential(*(Residual2d(sizes[-1]) for _ in range(4)))
        self.enlarge = nn.Sequential(
            *(
                nn.Sequential(nn.Upsample(scale_factor=2), *activated(nn.Conv2d(b, a, 3, padding=1), nn.BatchNorm2d(a)))
                for a, b in reversed(list(itertools.pairwise(sizes)))
            )
        )
        self.colours = nn.Conv2d(width, 3, 7)
        initialise(self)

    def extend(self, frames: Tensor, steps: int) -> VideoPrediction:
        """Each predicted frame is appended to the context, whose oldest frame is dropped; gradients pass through."""
        context, made = frames, []
        for _ in range(steps):
            made.append(self.next_frame(context))
            context = torch.cat([context[:, 1:], made[-1].unsqueeze(1)], dim=1)
        return VideoPrediction(torch.stack(made, dim=1))

    def next_frame(self, frames: Tensor) -> Tensor:
        """(B,T,3,H,W) in [0,1] -> (B,3,H,W) in (0,1)."""
        height, width = frames.shape[-2:]
        maps = _padded(frames.transpose(1, 2) * 2 - 1)
        maps = self.begin(F.pad(maps, (3, 3, 3, 3, 1, 1), mode="replicate"))
        maps = self.motion(self.reduce(maps))
        maps = self.enlarge(self.frame(maps[:, :, -1]))
        frame: Tensor = (torch.tanh(self.colours(_reflected(maps, 3))) + 1) / 2
        return frame[..., :height, :width]


class ToyGenerator(PredictionNetwork):
    """One image from one map of noise, through residual blocks at an eighth of the size (appendix A1)."""

    frames_in = 1

    def __init__(self, settings: "ToyGeneratorSettings") -> None:
        super().__init__()
        width = settings.width
        sizes = (width, 2 * width, 4 * width, 8 * width)
        pairs = list(itertools.pairwise(sizes))
        self.begin = activated(nn.Conv2d(3, width, 7), nn.BatchNorm2d(width))
        self.reduce = nn.Sequential(
            *(activated(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b)) for a, b in pairs)
        )
        self.frame = nn.Sequential(*(Residual2d(sizes[-1]) for _ in range(6)))
        self.enlarge = nn.Sequential(
            *(
                activated(nn.ConvTranspose2d(b, a, 3, stride=2, padding=1, output_padding=1), nn.BatchNorm2d(a))
                for a, b in reversed(pairs)
            )
        )
        self.colours = nn.Conv2d(width, 3, 7)
        initialise(self)

    def extend(self, frames: Tensor, steps: int) -> VideoPrediction:
        """`frames` (B,1,3,H,W) is the noise, of mean 0 and deviation 1; one image comes out, `steps` times."""
        image = self.image(frames[:, 0])
        return VideoPrediction(image.unsqueeze(1).expand(-1, steps, -1, -1, -1))

    def image(self, noise: Tensor) -> Tensor:
        """(B,3,H,W) -> (B,3,H,W) in (0,1)."""
        height, width = noise.shape[-2:]
        maps = self.reduce(self.begin(_reflected(_padded(noise), 3)))
        maps = self.enlarge(self.frame(maps))
        image: Tensor = (torch.tanh(self.colours(_reflected(maps, 3))) + 1) / 2
        return image[..., :height, :width]


def initialise(network: nn.Module) -> None:
    """As published: convolutions N(0, 0.02), 2-D BatchNorm N(1, 0.02) and 0; PyTorch's biases and 3-D BatchNorm."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def _reflected(maps: Tensor, border: int) -> Tensor:
    """`maps` with reflected borders; a side too short to reflect is repeated instead."""
    for axis, sides in ((-1, (border, border, 0, 0)), (-2, (0, 0, border, border))):
        maps = F.pad(maps, sides, mode="reflect" if maps.shape[axis] > border else "replicate")
    return maps


def _padded(maps: Tensor) -> Tensor:
    """Maps (...,H,W) whose last columns and rows are repeated up to multiples of 8."""
    height, width = maps.shape[-2:]
    below, right = -height % MULTIPLE, -width % MULTIPLE
    if not (below or right):
        return maps
    sides = (0, right, 0, below) + (0, 0) * (maps.dim() == 5)
    return F.pad(maps, sides, mode="replicate")
