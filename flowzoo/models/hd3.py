"""HD3. Yin, Darrell, Yu: "Hierarchical Discrete Distribution Decomposition for Match Density Estimation", CVPR 2019.

Level l = 0..4 has 1/2^(6-l) of the size. Inside this file flow is in pixels of its level.
"""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flowzoo.blocks.alignment import warp_features_border
from flowzoo.blocks.convolution import join
from flowzoo.blocks.cost_volume import make_cost_volume
from flowzoo.blocks.densities import read_density
from flowzoo.blocks.dla import CHANNELS, DLA34
from flowzoo.blocks.dla_up import DLAUp
from flowzoo.blocks.flow_cues import CUE_CHANNELS, flow_cues
from flowzoo.blocks.halves import halves
from flowzoo.blocks.hda import ContextDecoder, DensityDecoder
from flowzoo.blocks.normalised_convolution import BatchNorm
from flowzoo.blocks.resize import Size, ratio, resize_corners, scale_flow
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.zoo.hd3 import HD3Settings

LEVELS = 5
MULTIPLE = 64
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MASK_THRESHOLD = 0.9999


WARP = functools.partial(warp_features_border, mask_threshold=MASK_THRESHOLD)


class Inferred(NamedTuple):
    """What a level finds.

    Attributes:
        logits: (B,bins,H,W) of the match density of what is left of the motion.
        flow: (B,2,H,W), pixels of the level.
        confidence: (B,1,H,W) in 0..1.
        handed: features (B,bins,2H,2W) for the next level, or None at the finest.
    """

    logits: Tensor
    flow: Tensor
    confidence: Tensor
    handed: Tensor | None


class HD3Level(nn.Module):
    """One pyramid level: a match density given the coarser flow, and the flow read from it.

    HD3's decomposition: the density over whole motions is the product of the levels' densities over what the coarser
    levels left, so a level's flow is the vector of its own density plus the coarser flow.
    """

    def __init__(self, settings: HD3Settings, level: int) -> None:
        super().__init__()
        self.cues = settings.flow_cues
        features = CHANNELS[-1 - level]
        self.cost_volume = make_cost_volume(settings, features, warp=WARP)
        bins = self.cost_volume.outputs
        self.normalise = BatchNorm(bins)
        inputs = bins
        if level > 0:
            inputs += features + bins + 2 + (CUE_CHANNELS if self.cues else 0)
        finest = level == LEVELS - 1
        self.decoder: nn.Module
        if finest and settings.context:
            self.decoder = ContextDecoder(inputs, bins)
        else:
            aggregate = settings.decoder == "hda"
            self.decoder = DensityDecoder(inputs, bins, aggregate=aggregate, handed=0 if finest else bins)

    def forward(self, first: Tensor, second: Tensor, above: tuple[Tensor, Tensor] | None) -> Inferred:
        """One level.

        Args:
            first, second: features (B,C,H,W).
            above: the coarser flow (B,2,H,W), enlarged and in pixels of this level, and the features (B,bins,H,W)
                handed down with it; None at the coarsest level.
        """
        coarser = None if above is None else above[0]
        seen = [self.normalise(self.cost_volume(first, second, coarser))]
        if above is not None:
            seen += [first, above[1], above[0]]
            if self.cues:
                seen.append(flow_cues(above[0].detach()))
        logits, handed = self.decoder(join(*(part.to(first.dtype) for part in seen)))
        residual, confidence = read_density(logits)
        return Inferred(logits, residual if coarser is None else residual + coarser, confidence, handed)


class HD3(FlowNetwork):
    """HD3 as published (`hd3`), or with the context module (`hd3-context`)."""

    multiple = MULTIPLE
    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: HD3Settings) -> None:
        super().__init__()
        self.settings = settings
        bins = (2 * settings.cost_range + 1) ** 2
        # The finest level's decoder, or for the small one of the context module rather the features before it.
        directions = (1.3 if settings.context else 1.85) if settings.infers_both else 1
        self.bytes_per_pixel = round((310 + 0.8 * bins) * directions)
        self.lowered_bytes_per_pixel = round((196 + 0.6 * bins) * directions)
        self.backbone = DLA34()
        # Flow ends at a quarter of the size, which is the second entry of the backbone's levels.
        self.aggregate = DLAUp(CHANNELS[1:], finest_used=1)
        self.levels = nn.ModuleList(HD3Level(settings, level) for level in range(LEVELS))
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        initialise(self)

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """See `FlowNetwork.forward`.

        `details`, each a list from coarse to fine: "logits" (B,bins,h,w), and "level_flows" (B,2,h,w) in pixels of
        the network's input, whose size is the (height, width) "network_size". With `both_directions` or `flow_cues`
        also "backward", "backward_pyramid", "backward_confidence", "backward_logits" and "backward_level_flows".
        """
        batch, _, height, width = first.shape
        inner = network_size((height, width))
        images = (torch.cat([first, second]) - self.mean) / self.deviation
        features = self.aggregate(self.backbone(resize_corners(images, inner)))
        levels: list[Inferred] = []
        above: tuple[Tensor, Tensor] | None = None
        for level, maps in zip(self.levels, features, strict=True):
            # With both directions, the second half of the batch runs from the second images to the first.
            one, two = (maps, maps.roll(batch, 0)) if self.settings.infers_both else halves(maps)
            found = level(one, two, above)
            levels.append(found)
            if found.handed is not None:
                flow = found.flow.detach() if self.settings.stop_flow_gradient else found.flow
                above = (2 * resize_corners(flow, (2 * flow.shape[2], 2 * flow.shape[3])), found.handed)
        return self._prediction(levels, (height, width), inner, batch)

    def _prediction(self, levels: list[Inferred], size: Size, inner: Size, batch: int) -> FlowPrediction:
        level_flows = [found.flow * 2 ** (LEVELS + 1 - level) for level, found in enumerate(levels)]
        logits = [found.logits for found in levels]
        x_factor, y_factor = ratio(size[1], inner[1]), ratio(size[0], inner[0])
        full = scale_flow(resize_corners(level_flows[-1], size), x_factor, y_factor)
        pyramid = [scale_flow(flow, x_factor, y_factor) for flow in level_flows]
        confidence = resize_corners(levels[-1].confidence, size)
        forward, backward = slice(None, batch), slice(batch, None)
        details: dict[str, Any] = {"network_size": inner}
        details["logits"] = [level[forward] for level in logits]
        details["level_flows"] = [level[forward] for level in level_flows]
        if full.shape[0] > batch:
            details["backward"] = full[backward]
            details["backward_confidence"] = confidence[backward]
            for name, kept in (("pyramid", pyramid), ("logits", logits), ("level_flows", level_flows)):
                details[f"backward_{name}"] = [level[backward] for level in kept]
        return FlowPrediction(
            flow=full[forward],
            pyramid=[level[forward] for level in pyramid],
            confidence=confidence[forward],
            details=details,
        )


def network_size(size: Size) -> Size:
    """The size an image is resized to: sides are multiples of 64 next to its own, height:width nearest to its own.

    Of the (up to) four such sizes; the published inference script decides likewise, so an image may also shrink.
    """
    height, width = size
    if height % MULTIPLE == 0 and width % MULTIPLE == 0:
        return size
    heights, widths = (
        [side for side in (length // MULTIPLE * MULTIPLE, (length // MULTIPLE + 1) * MULTIPLE) if side]
        for length in size
    )
    return min(((h, w) for h in heights for w in widths), key=lambda inner: abs(inner[0] / inner[1] - height / width))


def initialise(network: nn.Module) -> None:
    """Normal weights of deviation 0.02 and zero biases for all convolutions, as published."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
