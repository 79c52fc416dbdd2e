"""TDAN. Tian, Zhang, Fu, Xu: "TDAN: Temporally-Deformable Alignment Network for Video Super-Resolution", CVPR 2020."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import convolution, layout
from flowzoo.blocks.offset_alignment import FORMS, LearnedOffsets
from flowzoo.blocks.residual_block import residual_blocks
from flowzoo.blocks.sub_pixels import enlarged, in_bands
from flowzoo.errors import InputError
from flowzoo.network import VideoNetwork, VideoPrediction
from flowzoo.zoo.tdan import TDANSettings

RANGE_CENTRE = 0.5  # inside, pictures are -0.5 to 0.5


class TDAN(VideoNetwork):
    """See `flowzoo.zoo.tdan.TDANSettings` for what can be changed."""

    scale = 4
    temporal_border = "reflection"

    def __init__(self, settings: TDANSettings) -> None:
        super().__init__()
        if settings.frames < 1 or settings.frames % 2 == 0:
            raise InputError(f"frames must be odd, got {settings.frames}")
        self.settings, self.frames_in = settings, settings.frames
        self.bytes_per_pixel = settings.channels * (240 + 14 * settings.frames)
        channels = settings.channels
        self.conv_first = convolution(3, channels)
        self.extract = residual_blocks(channels, settings.extract_blocks)
        self.aggregate = convolution(2 * channels, channels)
        self.align = nn.ModuleList(_alignment(settings) for _ in range(4))
        self.to_rgb = convolution(channels, 3)
        self.fuse = convolution(3 * settings.frames, channels)
        self.reconstruct = residual_blocks(channels, settings.reconstruct_blocks)
        self.enlarge1, self.enlarge2 = convolution(channels, 4 * channels), convolution(channels, 4 * channels)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1, bias=False)
        _initialise(self)

    def predict(self, frames: Tensor) -> VideoPrediction:
        """See `VideoNetwork.forward`: (B,T,3,H,W) -> the middle frame enlarged, (B,1,3,4H,4W).

        `details["aligned"]` is every frame as rebuilt at the middle one's places, (B,T,3,H,W) in 0..1 (the middle one
        itself); with offsets kept, `details["offsets"]` has (B,2*G*N,H,W) of each alignment of each other frame.
        """
        centred = frames - RANGE_CENTRE
        batch, count = frames.shape[:2]
        features = self.extract(F.relu(self.conv_first(layout(centred.flatten(0, 1)))))
        features = features.view(batch, count, *features.shape[1:])
        middle = count // 2
        aligned, offsets = [], []
        for index in range(count):
            if index == middle:
                aligned.append(centred[:, index])
                continue
            picture, found = self._aligned(features[:, index], features[:, middle])
            aligned.append(picture.to(centred.dtype))
            offsets.append(found)
        fused = F.relu(self.fuse(torch.cat(aligned, dim=1)))
        maps = self.reconstruct(fused)
        colours = in_bands(self._finish, enlarged(self.enlarge1, maps, slope=1.0), 2)
        details: dict[str, object] = {"aligned": torch.stack(aligned, dim=1) + RANGE_CENTRE}
        if self.keeps_details:
            details["offsets"] = offsets
        result = colours.float() + RANGE_CENTRE
        return VideoPrediction(result.unsqueeze(1), details)

    def _finish(self, maps: Tensor) -> Tensor:
        """(B,C,h,w) of half the result's size -> colours (B,3,2h,2w) of the result's."""
        result: Tensor = self.conv_last(enlarged(self.enlarge2, maps, slope=1.0))
        return result

    def _aligned(self, neighbour: Tensor, reference: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The neighbour's picture at the reference's places (B,3,H,W), and the offsets of each alignment."""
        first, second, third, fourth = self.align
        found: dict[str, Tensor] = {}
        hidden = self.aggregate(torch.cat([reference, neighbour], dim=1))
        for name, part in (("1", first), ("2", second)):
            result = part(hidden, hidden)
            hidden, found[name] = result.features, result.offset
        result = third(neighbour, hidden)
        found["3"] = result.offset
        result = fourth(result.features, result.features)
        found["4"] = result.offset
        return self.to_rgb(result.features), found


def _alignment(settings: TDANSettings) -> LearnedOffsets:
    if settings.alignment == "decomposed" and settings.border == "legacy":
        raise InputError("the decomposed form knows the modern border rule only: use alignment=deformable")
    return FORMS[settings.alignment](
        settings.channels,
        settings.channels,
        settings.channels,
        groups=settings.groups,
        offsets=settings.offsets,
        modulated=False,
        bias=False,
        border=settings.border,
    )


def _initialise(network: TDAN) -> None:
    """Normal weights of deviation sqrt(2 / (k*k*outputs)) and zero biases, as the authors have it.

    Not in the convolutions of the offsets, which start at zero, nor in the residual blocks, which would make the start
    a thousand times too large.
    """
    apart = {id(layer) for part in (network.align, network.extract, network.reconstruct) for layer in part.modules()}
    for layer in network.modules():
        if isinstance(layer, LearnedOffsets):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.offsets * layer.weight.shape[0])))
        elif isinstance(layer, nn.Conv2d) and id(layer) not in apart:
            area = layer.kernel_size[0] * layer.kernel_size[1]
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (area * layer.out_channels)))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
