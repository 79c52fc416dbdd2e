"""PWC-Net. Sun, Yang, Liu, Kautz: "PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume", CVPR 2018.

Level l has 1/2^l of the size. Flow is in units of 20 pixels of the network's input at every level, inside this file
only.
"""

import functools
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.alignment import warp_features
from flowzoo.blocks.context import REACH as CONTEXT_REACH
from flowzoo.blocks.context import ContextNetwork
from flowzoo.blocks.convolution import SLOPE, initialise
from flowzoo.blocks.cost_volume import make_cost_volume
from flowzoo.blocks.dense_decoder import DenseDecoder
from flowzoo.blocks.directions import both_directions, split_directions
from flowzoo.blocks.flow_cues import CUE_CHANNELS, flow_cues
from flowzoo.blocks.halves import halves
from flowzoo.blocks.precision import FlowDoubling, flow_head
from flowzoo.blocks.pyramid import FeaturePyramid
from flowzoo.blocks.resize import ratio, resize, round_up, scale_flow
from flowzoo.blocks.resize_8bit import enlarge_8bit
from flowzoo.blocks.strips import Rows, rows_seen, strip_by_strip
from flowzoo.blocks.upsampling import doubling
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.operators import decoder_input
from flowzoo.zoo.pwcnet import LEVELS, PWCNetSettings

FLOW_UNIT = 20.0
COARSEST, FINEST = LEVELS, 2


class PWCLevel(nn.Module):
    """Flow inference at one pyramid level: the warping, cost volume and flow estimator layers of section 3.

    `enlarge_flow` and `enlarge_features` hand the flow and two feature maps to the next level. The published network
    has an unused flow layer at its finest level, too; it is kept, frozen, so that its parameters have a place.
    """

    def __init__(self, settings: PWCNetSettings, level: int) -> None:
        super().__init__()
        self.scale = FLOW_UNIT / 2**level
        self.cues = settings.flow_cues and level < COARSEST
        features = settings.feature_channels[level - 1]
        warp = functools.partial(warp_features, mask_threshold=settings.mask_threshold)
        self.cost_volume = make_cost_volume(settings, features, warp=warp)
        inputs = self.cost_volume.outputs
        if level < COARSEST:
            inputs += features + 4 + (CUE_CHANNELS if self.cues else 0)
        self.decoder = DenseDecoder(inputs, settings.decoder_channels, settings.dense_order)
        self.flow = flow_head(self.decoder.outputs)
        self.enlarge_flow = FlowDoubling()
        self.enlarge_features = doubling(self.decoder.outputs, 2) if level > FINEST else None
        seen = rows_seen(self.cost_volume, self.decoder)
        self.rows = Rows(None if seen is None else seen + (CONTEXT_REACH if level == FINEST else 1))

    def forward(
        self, features: Tensor, above: tuple[Tensor, Tensor] | None, context: ContextNetwork | None = None
    ) -> list[Tensor]:
        """One level.

        Args:
            features: (2B,C,H,W), the first images' features and then the second ones'.
            above: flow and features (B,2,H,W) handed down by the level above, or None.
            context: refines the flow of the finest level.

        Returns:
            The flow (B,2,H,W), and the decoder's features (B,D,H,W) where a finer level needs them.
        """
        first, second = halves(features)
        flow = None if above is None else above[0] * self.scale
        seen = [] if above is None else [first, *above]
        if flow is not None and self.cues:
            seen.append(flow_cues(flow.detach()))
        return self._estimate(context, first, self.cost_volume.align(second, flow), flow, *seen)

    @strip_by_strip
    def _estimate(
        self, context: ContextNetwork | None, first: Tensor, aligned: Tensor, flow: Tensor | None, *seen: Tensor
    ) -> list[Tensor]:
        costs = self.cost_volume.measure(first, aligned, flow)
        if seen:
            parts = [decoder_input(costs, seen[0], torch.cat(seen[1:], dim=1), SLOPE, 1.0)]
        else:
            parts = [F.leaky_relu(costs, SLOPE)]
        hidden, exact, at = self.decoder(parts, sum(part.shape[1] for part in seen[1:]))
        estimate = self.flow.of_lowered(hidden, exact, at)
        if context is not None:
            estimate = estimate + context(hidden)
        return [estimate] if self.enlarge_features is None else [estimate, hidden]


class PWCNet(FlowNetwork):
    """PWC-Net as published (`pwcnet`) or with the paper's smaller extractor (`pwcnet-paper`)."""

    multiple = 64

    def __init__(self, settings: PWCNetSettings) -> None:
        super().__init__()
        self.settings = settings
        # The finest decoder's maps, at a quarter of the size, with what convolutions need beside them.
        costs = (2 * settings.cost_range + 1) ** 2
        channels = costs + settings.feature_channels[FINEST - 1] + 4 + sum(settings.decoder_channels)
        directions = 2 if settings.infers_both else 1
        # In a half type less than that may be gocor's optimiser, whose costs stay float32.
        optimiser = 1.25 * costs + 100 if settings.cost_volume == "gocor" else 0
        self.bytes_per_pixel = round(0.7 * channels * directions)
        self.bytes_per_pixel_in_strips, self.pixels_of_strip = 155 * directions, 1_300_000
        self.lowered_bytes_per_pixel = round(max(0.4 * channels, optimiser) * directions)
        self.lowered_bytes_per_pixel_in_strips = 80 * directions
        repeated = settings.convolutions - 1
        stages = [[(c, 3, 2), *[(c, 3, 1)] * repeated] for c in settings.feature_channels]
        self.features = FeaturePyramid(stages)
        levels = {str(level): PWCLevel(settings, level) for level in range(COARSEST, FINEST - 1, -1)}
        self.levels = nn.ModuleDict(levels)
        levels[str(FINEST)].enlarge_flow.requires_grad_(False)  # nothing is below to hand the flow to
        self.context = ContextNetwork(levels[str(FINEST)].decoder.outputs) if settings.context else None
        initialise(self)

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """See `FlowNetwork.forward`."""
        batch, _, height, width = first.shape
        inner = round_up((height, width), self.multiple)
        enlarge = enlarge_8bit if self.settings.input_resize == "8-bit" else resize
        images = enlarge(torch.cat([first, second]).flip(1), inner)
        features = self.features(images, first_kept=FINEST - 1)
        if self.settings.infers_both:
            features = both_directions(features, batch)
        flows: list[Tensor] = []
        above = None
        for level in range(COARSEST, FINEST - 1, -1):
            part = cast(PWCLevel, self.levels[str(level)])
            flow, *hidden = part(features.pop(), above, self.context if level == FINEST else None)
            if part.enlarge_features is not None:
                handed = flow.detach() if self.settings.stop_flow_gradient else flow
                above = (part.enlarge_flow(handed), part.enlarge_features(hidden[0]))
            flows.append(flow)
        factors = FLOW_UNIT * ratio(width, inner[1]), FLOW_UNIT * ratio(height, inner[0])
        full = scale_flow(resize(flows[-1], (height, width)), *factors)
        return split_directions(full, [scale_flow(level, *factors) for level in flows], batch)
