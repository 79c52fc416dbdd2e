"""Wren: a compact pyramid network whose one decoder serves all levels.

Flow is always in pixels of its own level, so the decoder does not know which level it works on: it learns from all of
them, and can run on a finer pyramid than it was trained on (`cascade`). No published model.
"""

import math
from contextlib import nullcontext
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convolution import Convolution, ConvolutionStack, as_weights, convolution, untraced_inference
from flowzoo.blocks.cost_volume import make_cost_volume
from flowzoo.blocks.directions import split_directions, with_reverse
from flowzoo.blocks.flow_cues import CUE_CHANNELS, flow_cues
from flowzoo.blocks.global_matching import CandidateChoice, GlobalMatching, Match
from flowzoo.blocks.halves import halves
from flowzoo.blocks.instance_norm import joint_norm
from flowzoo.blocks.precision import at_least_float32, flow_head, matched_exactly
from flowzoo.blocks.resize import ratio, resize, scale_flow
from flowzoo.blocks.straight_through import straight_through
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.operators import convex_upsampling, decoder_input, paired_planes
from flowzoo.operators.registration import is_traced
from flowzoo.zoo.wren import WrenSettings

SLOPE = 0.1
FINEST = 4  # the finest level is 1/4 of the image
GAIN = 2  # of the costs that the decoder sees
FLOW_UNIT = 8.0  # pixels of the level, for what the decoder sees of the flow
GLOBAL = 2  # all pairs are compared at 1/16 of the image: the third of the levels that are matched
COARSE = 2  # from 1/16 of the image on a wrong match is one that the finer levels cannot mend
REFINED = 100  # bytes a pixel of the images that refinement takes, for each direction
UNRELATED = 2 / math.pi**0.5  # mean difference of two independent normal variables of deviation 1


class Wren(FlowNetwork):
    """See `flowzoo.zoo.wren.WrenSettings` for what can be changed."""

    exported_settings: ClassVar = {"refinement": ("none", "without its variational refinement")}

    def __init__(self, settings: WrenSettings) -> None:
        super().__init__()
        self.settings = settings
        self.bytes_per_pixel = peak_bytes(settings)
        channels, matching = settings.channels, settings.matching_channels
        self.encoder = nn.ModuleList(
            ConvolutionStack(
                _convolution(before, after, kernel=5 if before == 3 else 3, stride=2),
                nn.LeakyReLU(SLOPE),
                _convolution(after, after),
                nn.LeakyReLU(SLOPE),
            )
            for before, after in zip((3, *channels[:-1]), channels, strict=True)
        )
        self.projections = nn.ModuleList(_convolution(c, matching, kernel=1) for c in channels[1:])
        self.decoder = Decoder(settings)
        if settings.upsampling == "convex":
            self.upsampling_weights = ConvolutionStack(
                _convolution(self.decoder.out_channels, 64),
                nn.LeakyReLU(SLOPE),
                _convolution(64, 9 * FINEST**2, kernel=1),
            )
        _initialise(self)
        if settings.matches_globally:  # drawn last: the rest starts as without it
            attention = settings.attention_blocks if settings.matching == "attention" else 0
            self.global_matching = GlobalMatching(channels[GLOBAL + 1 :], attention=attention)
            context = matching + settings.hidden + 3
            self.choice = CandidateChoice(self.decoder.cost_volume.outputs, context)

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """See `FlowNetwork.forward`."""
        batch, _, height, width = first.shape
        size = (self._rounded(height), self._rounded(width))
        scale = ratio(width, size[1]), ratio(height, size[0])
        images = _scaled_pair(*(resize(image, size) for image in (first, second)))
        maps, distant = self._features(images)
        flow, pyramid, state = self._coarse_to_fine(maps, distant)
        if self.settings.cascade and not self.training:
            flow, finer = self._cascade(images, state)
            pyramid += finer
        pyramid = [scale_flow(entry, *scale) for entry in pyramid]
        flow = scale_flow(resize(flow, (height, width)), *scale)
        if self.settings.refinement == "variational" and not self.training:
            from flowzoo.blocks.boundary_median import boundary_median
            from flowzoo.blocks.variational import variational_refinement

            del images, maps  # the refinement needs their memory
            pair = first.float(), second.float()
            if self.settings.infers_both:
                pair = torch.cat(pair), torch.cat(pair[::-1])
            flow = straight_through(boundary_median(*pair, variational_refinement(*pair, flow)), flow)
        prediction = split_directions(flow, pyramid, batch)
        if distant is not None and self.training:
            scores = self.global_matching.scores(distant)
            prediction.details["match_scores"] = scores[:batch]
            if self.settings.infers_both:
                prediction.details["backward_match_scores"] = scores[batch:]
        return prediction

    def _rounded(self, side: int) -> int:
        """The nearest multiple of 64 that is not smaller than 64."""
        if side % self.multiple == 0:
            return side
        return max(self.multiple, (side + self.multiple // 2) // self.multiple * self.multiple)

    def _features(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """(2B,3,H,W) in [-1,1] -> maps to match at 1/4, 1/8, ... 1/64 of the images, both images' stacked.

        The second result are the features of global matching at 1/16, or None. The reverse pairs come behind the pairs
        where both directions are inferred.
        """
        levels: list[Tensor] = []
        groups = 1 if self.settings.normalisation == "joint" else self.settings.matching_channels
        with matched_exactly(self, images):
            # Without gradients, the first layer's kernel reads planes as they are.
            x = images if untraced_inference(images) else images.contiguous(memory_format=torch.channels_last)
            for block in self.encoder:
                x = block(x)
                levels.append(x)
            maps = [_normalised(project(x), groups) for project, x in zip(self.projections, levels[1:], strict=True)]
            distant = self.global_matching.features(levels[GLOBAL + 1 :]) if self.settings.matches_globally else None
        if self.settings.infers_both:
            maps = [with_reverse(level, images.shape[0] // 2) for level in maps]
            distant = None if distant is None else with_reverse(distant, images.shape[0] // 2)
        return maps, distant

    def _coarse_to_fine(
        self, maps: list[Tensor], distant: Tensor | None
    ) -> tuple[Tensor, list[Tensor], tuple[Tensor, Tensor]]:
        """Flow at the images' size, the levels' flows in pixels of the images, and flow and hidden state at 1/4."""
        batch, _, height, width = maps[-1].shape
        flow = maps[-1].new_zeros(batch // 2, 2, height, width)
        hidden = maps[-1].new_zeros(batch // 2, self.settings.hidden, height, width)
        pyramid: list[Tensor] = []
        decoded, index = hidden, 0
        coarse_to_fine = [*reversed(range(len(maps)))]
        for index, iterations in zip(coarse_to_fine, self.settings.decoded_iterations, strict=False):
            if index < len(maps) - 1:
                flow, hidden = _doubled(flow, hidden)
            with matched_exactly(self, flow) if index >= COARSE else nullcontext():
                if index == GLOBAL and distant is not None:
                    flow = self._chosen(maps[index], flow, hidden, distant)
                    pyramid.append(flow * FINEST * 2**index)
                for _ in range(iterations):
                    flow, hidden, decoded = self.decoder(maps[index], flow, hidden)
                    pyramid.append(flow * FINEST * 2**index)
        if index > 0:
            return _bilinear(flow, FINEST * 2**index), pyramid, (flow, hidden)
        return self._enlarged(flow, decoded), pyramid, (flow, hidden)

    def _chosen(self, maps: Tensor, flow: Tensor, hidden: Tensor, distant: Tensor) -> Tensor:
        """The flow (B,2,h,w) of the coarser levels, or the global match where that fits better."""
        match = Match(*(part.detach() for part in self.global_matching(distant)))  # the density has its own loss
        first, second = halves(maps)
        flow = flow.detach() if self.settings.stop_flow_gradient else flow
        seen = [self.decoder.evidence(first, second, candidate) for candidate in (flow, match.flow)]
        seen += [first, hidden, (match.flow - flow) / FLOW_UNIT, match.confidence]
        chosen: Tensor = self.choice(flow, match.flow, seen)
        return chosen

    def _enlarged(self, flow: Tensor, decoded: Tensor) -> Tensor:
        """Flow of the finest level at four times its size."""
        if self.settings.upsampling == "bilinear":
            return _bilinear(flow, FINEST)
        return convex_upsampling(flow, self.upsampling_weights(decoded), FINEST)

    def _cascade(self, images: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The finer levels of the pair at twice the size, from the 1/4 flow of the pair; in pixels of `images`.

        The start is coarser than where the first run ended (1/8 of the images), so that the decoder can still change
        its mind; the levels are 1/8, 1/4 and 1/2 of the images.
        """
        maps, _ = self._features(resize(images, (images.shape[2] * 2, images.shape[3] * 2)))
        flow, hidden = (F.avg_pool2d(x, 4) for x in state)
        flow, decoded, pyramid = flow / 4, hidden, []
        for index in (2, 1, 0):
            flow, hidden = _doubled(flow, hidden)
            flow, hidden, decoded = self.decoder(maps[index], flow, hidden)
            pyramid.append(flow * FINEST / 2 * 2**index)
        return F.avg_pool2d(self._enlarged(flow, decoded), 2) / 2, pyramid


class Decoder(nn.Module):
    """Cost volume, features, flow and hidden state of a level -> a better flow and the next hidden state."""

    def __init__(self, settings: WrenSettings) -> None:
        super().__init__()
        self.settings, width = settings, settings.width
        self.out_channels = width * 4 // 5
        self.cost_volume = make_cost_volume(settings, settings.matching_channels)
        inputs = self.cost_volume.outputs + settings.matching_channels + 2 + settings.hidden
        self.reduce = _convolution(inputs + (CUE_CHANNELS if settings.flow_cues else 0), width)
        self.refine = nn.ModuleList(_convolution(width, width, dilation=d) for d in (1, 2, 4))
        self.out = _convolution(width, self.out_channels)
        self.flow_head = flow_head(self.out_channels)
        self.hidden_head = _convolution(self.out_channels, settings.hidden, kernel=1)

    def forward(self, maps: Tensor, flow: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(2B,C,h,w), (B,2,h,w) in pixels of this level, (B,hidden,h,w) -> flow, hidden, (B,out_channels,h,w)."""
        first, second = halves(maps)
        if self.settings.stop_flow_gradient:
            flow = flow.detach()
        others = [flow / FLOW_UNIT, hidden]
        if self.settings.flow_cues:
            vectors, shares = flow_cues(flow.detach()).split((4, CUE_CHANNELS - 4), dim=1)
            others += [vectors / FLOW_UNIT, shares]
        x = decoder_input(self._cost(first, second, flow), first, torch.cat(others, dim=1), SLOPE, GAIN)
        x = self.reduce.activated(as_weights(x, self.reduce.weight))
        plain, *dilated = self.refine
        x = _activated(plain, x)
        for layer in dilated:
            x = _sum(_activated(layer, x), x)
        x = self.out.activated(x)
        return flow + self.flow_head(x), at_least_float32(self.hidden_head(x)), x

    def evidence(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        """How well the first map fits the second around where the flow leads: (B,outputs of the cost volume,h,w)."""
        return F.leaky_relu(self._cost(first, second, flow), SLOPE).mul_(GAIN)

    def _cost(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        """As a correlation: about 0 without a match, 1 with one."""
        cost: Tensor = self.cost_volume(first, second, flow)
        return UNRELATED - cost if self.cost_volume.low_is_good else cost


def peak_bytes(settings: WrenSettings) -> int:
    """Of inference, by pixels of one image: the first features, the finest decoder's input and parts, or refinement."""
    costs = (2 * settings.cost_range + 1) ** 2
    decoder = (2 * costs + 4 * settings.matching_channels + 3 * settings.hidden) // 4 + 28
    refinement = REFINED if settings.refinement == "variational" else 0
    directions = 2 if settings.infers_both else 1
    bytes_of_run = max(5 * settings.channels[0] + 60, directions * max(decoder, refinement))
    return 4 * bytes_of_run if settings.cascade else bytes_of_run


def _convolution(before: int, after: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> Convolution:
    return convolution(before, after, kernel, stride=stride, dilation=dilation)


def _activated(layer: nn.Module, maps: Tensor) -> Tensor:
    assert isinstance(layer, Convolution), "what the decoder is made of"
    return layer.activated(maps)


def _sum(new: Tensor, maps: Tensor) -> Tensor:
    """Of two maps, in the place of the first where no gradient needs that: fresh memory costs more than the sum."""
    return new + maps if torch.is_grad_enabled() else new.add_(maps)


def _initialise(network: nn.Module) -> None:
    """He normal; flow starts near zero, upsampling near uniform."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith("flow_head"):
                nn.init.normal_(module.weight, std=1e-3)
            elif name.startswith("upsampling_weights.2"):
                with torch.no_grad():
                    module.weight.mul_(0.1)


def _normalised(maps: Tensor, groups: int) -> Tensor:
    """Mean 0 and deviation 1 per sample and group of channels, over the pixels of both of the sample's images."""
    pairs = paired_planes(at_least_float32(maps))
    return torch.cat((joint_norm(pairs) if groups == 1 else F.group_norm(pairs, groups)).unbind(2))


def _scaled_pair(first: Tensor, second: Tensor) -> Tensor:
    """(B,3,H,W) twice in [0,1] -> (2B,3,H,W) in [-1,1]; without gradients scaled where they are put together."""
    if torch.is_grad_enabled() or is_traced():
        return torch.cat([first, second]) * 2 - 1
    batch = first.shape[0]
    images = first.new_empty(2 * batch, *first.shape[1:])
    for image, into in ((first, images[:batch]), (second, images[batch:])):
        torch.sub(image, 0.5, out=into).mul_(2)  # the same bits as twice the image minus 1
    return images


def _bilinear(flow: Tensor, factor: int) -> Tensor:
    return F.interpolate(flow, scale_factor=factor, mode="bilinear", align_corners=False) * factor


def _doubled(flow: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Flow and hidden state of a level, on the grid of the next finer one."""
    both = torch.cat([flow, hidden], dim=1)
    if both.is_cuda:  # whose kernel for planes leaves most of a GPU idle
        both = both.contiguous(memory_format=torch.channels_last)
    finer = F.interpolate(both, scale_factor=2, mode="bilinear", align_corners=False).contiguous()
    return finer[:, :2] * 2, finer[:, 2:]
