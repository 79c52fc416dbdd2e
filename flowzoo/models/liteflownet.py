"""LiteFlowNet, LiteFlowNet2 and LiteFlowNetX.

Hui, Tang, Loy: "LiteFlowNet" (CVPR 2018) and "A Lightweight Optical Flow CNN" (TPAMI 2020). Level k has 1/2^(k-1) of
the size. Flow is in units of 20 pixels of the network's input at every level, inside this file only.
"""

import torch
from torch import Tensor, nn

from flowzoo.blocks import caffe_resampling
from flowzoo.blocks.cascaded_inference import Matching, SharedProjection, SubpixelRefinement
from flowzoo.blocks.convolution import initialise
from flowzoo.blocks.cost_volume import make_cost_volume
from flowzoo.blocks.directions import both_directions, split_directions
from flowzoo.blocks.flow_cues import CUE_CHANNELS, flow_cues
from flowzoo.blocks.halves import halves
from flowzoo.blocks.local_regularisation import FlowFilter, LocalRegularisation, distance_layers
from flowzoo.blocks.precision import BilinearFlowDoubling, flow_head
from flowzoo.blocks.pyramid import FeaturePyramid
from flowzoo.blocks.resize import Size, ratio, resize, round_up, scale_flow
from flowzoo.blocks.upsampling import doubling
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.zoo.liteflownet import COARSEST, LiteFlowNetSettings

FLOW_UNIT = 20.0
# Blue, green, red means of the two images, as stored in the published networks.
MEANS = ((0.411618, 0.434631, 0.454253), (0.410782, 0.433645, 0.452793))


def level_window(level: int) -> int:
    """Side of the last convolution of M and S and of R's filter window at a level."""
    return {6: 3, 5: 3, 4: 5, 3: 5, 2: 7}[level]


def level_scale(level: int) -> float:
    """Pixels of a level per flow unit."""
    return float(FLOW_UNIT / 2 ** (level - 1))


class LiteFlowNetLevel(nn.Module):
    """Flow inference at one pyramid level: M, S and R (figures 2 and 3), whichever the settings have."""

    def __init__(self, settings: LiteFlowNetSettings, level: int) -> None:
        super().__init__()
        coarsest = level == COARSEST
        features, window, scale = settings.feature_channels[level - 1], level_window(level), level_scale(level)
        matched = settings.finest_projection if level == 2 else features
        warp_scale = scale if settings.warping else None
        cues = CUE_CHANNELS if settings.flow_cues and not coarsest else 0
        self.enlarge_flow = None if coarsest else BilinearFlowDoubling()
        self.projection = SharedProjection(features, matched) if level == 2 else None
        self.stop_gradient, self.cue_scale = settings.stop_flow_gradient, scale if cues else None
        self.matching: Matching | None = None
        self.subpixel: SubpixelRefinement | None = None
        self.regularisation: LocalRegularisation | None = None
        if settings.matching:
            volume = make_cost_volume(settings, matched, step=2 if level <= settings.sparse_level else 1)
            self.matching = Matching(volume, settings.matching_channels, window, scale=warp_scale, cues=cues)
        if settings.subpixel:
            with_flow = settings.matching or not coarsest
            self.subpixel = SubpixelRefinement(
                matched, settings.subpixel_channels, window, scale=warp_scale, with_flow=with_flow, cues=cues
            )
        if settings.regularisation:
            projection = settings.regularisation_projection if level <= 4 else 0
            channels = settings.regularisation_channels
            self.regularisation = LocalRegularisation(features, projection, channels, window, scale)

    def forward(
        self, features: Tensor, images: Tensor | None, above: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """One level.

        Args:
            features: (2B,C,H,W), the first images' features and then the second ones'.
            images: (2B,3,H,W) likewise, needed by R.
            above: flow (B,2,H/2,W/2) of the level above, or None.

        Returns:
            The flows of M, S and R in this order, and the last hidden maps of S and R.
        """
        flow, cues = self._handed_down(above)
        flows, hidden = [], []
        seen = features if self.projection is None else self.projection(features)
        if self.matching is not None:
            flow = self.matching(*halves(seen), flow, cues)
            flows.append(flow)
        if self.subpixel is not None:
            if self.projection is not None:
                seen = self.projection.for_subpixel(features, seen)
            flow, last = self.subpixel(*halves(seen), flow, cues)
            flows.append(flow)
            hidden.append(last)
        if self.regularisation is not None and images is not None:
            flow, last = self.regularisation(halves(features)[0], *halves(images), flow)
            flows.append(flow)
            hidden.append(last)
        return flows, hidden

    def _handed_down(self, above: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """The flow of the level above at this level's size, and its cues, where there are any."""
        if above is None or self.enlarge_flow is None:
            return None, None
        flow: Tensor = self.enlarge_flow(above.detach() if self.stop_gradient else above)
        return flow, None if self.cue_scale is None else flow_cues(flow.detach() * self.cue_scale)


class PseudoLevel(nn.Module):
    """LiteFlowNet2's level 2 for KITTI: refines and regularises from the hidden maps of level 3, nothing else."""

    def __init__(self, channels: int, level: int, stop_gradient: bool) -> None:
        super().__init__()
        window = level_window(level)
        self.stop_gradient = stop_gradient
        self.enlarge_flow = BilinearFlowDoubling()
        self.enlarge_subpixel = doubling(channels, channels)
        self.residual = flow_head(channels, window)
        self.enlarge_regularisation = doubling(channels, channels)
        self.distance = distance_layers(channels, window)
        self.filter = FlowFilter(window)

    def forward(self, flow: Tensor, subpixel: Tensor, regularisation: Tensor) -> list[Tensor]:
        """Flow (B,2,H,W) and the hidden maps of S and R (B,C,H,W) -> two flows (B,2,2H,2W)."""
        flow = self.enlarge_flow(flow.detach() if self.stop_gradient else flow)
        refined = flow + self.residual(self.enlarge_subpixel(subpixel))
        return [refined, self.filter(self.distance(self.enlarge_regularisation(regularisation)), refined)]


def peak_bytes(settings: LiteFlowNetSettings, number: int) -> tuple[int, int]:
    """Of inference, by pixels of one image, whole and in strips: the first features, or level 2's costs and maps.

    Args:
        settings: of the network.
        number: bytes of a number in maps of convolutions; flow, costs and the weights of its filter have four.
    """
    features, directions = 107.5 * settings.feature_channels[0] / 32 * number, 1.95 if settings.infers_both else 1
    if settings.finest_level > 2:
        # The pseudo level is never in strips: distances and weights of its filter's windows, at half the size.
        window = level_window(2) ** 2 if settings.pseudo_level else 0
        pseudo = (window * (3 + number / 4) + 40) * directions if window else 0
        return round(max(features, pseudo)), round(max((50 + 18 * number) * directions, pseudo))
    if not settings.matching:
        level, strips = 104 + 94 * number, 36 + 48.0 * number
    else:
        costs = (2 * settings.cost_range + 1) ** 2
        level, strips = max(230, costs) + 125 * number, 53 + 70.5 * number
    return round(max(features, level * directions)), round(strips * directions)


class LiteFlowNet(FlowNetwork):
    """The whole family; which member it is follows from the settings."""

    multiple = 32
    means: Tensor

    def __init__(self, settings: LiteFlowNetSettings) -> None:
        super().__init__()
        self.settings = settings
        self.bytes_per_pixel, self.bytes_per_pixel_in_strips = peak_bytes(settings, 4)
        self.lowered_bytes_per_pixel, self.lowered_bytes_per_pixel_in_strips = peak_bytes(settings, 2)
        # Of level 2's maps, at half the size; above it only features are so large, and at full size.
        self.pixels_of_strip = 300_000 if settings.finest_level == 2 else 100_000
        channels = settings.feature_channels
        self.features = FeaturePyramid(
            (
                [(channels[0], 7, 1)],
                [(channels[1], 3, 2), (channels[1], 3, 1), (channels[1], 3, 1)],
                [(channels[2], 3, 2), (channels[2], 3, 1)],
                [(channels[3], 3, 2), (channels[3], 3, 1)],
                [(channels[4], 3, 2)],
                [(channels[5], 3, 2)],
            )
        )
        self.levels = nn.ModuleDict(
            {str(level): LiteFlowNetLevel(settings, level) for level in range(COARSEST, settings.finest_level - 1, -1)}
        )
        self.pseudo = None
        if settings.pseudo_level:
            last = settings.subpixel_channels[-1]
            self.pseudo = PseudoLevel(last, settings.finest_level - 1, settings.stop_flow_gradient)
        self.register_buffer("means", torch.tensor(MEANS).view(2, 3, 1, 1))
        initialise(self)

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """See `FlowNetwork.forward`."""
        batch, _, height, width = first.shape
        inner = round_up((height, width), self.multiple)
        images = self._normalise(first, second, inner)
        features = self.features(images, first_kept=self.settings.finest_level - 1)
        pyramid: list[Tensor | None] = [None] * COARSEST
        if self.settings.regularisation:
            pyramid = self._image_pyramid(images)
        if self.settings.infers_both:
            features, pyramid = both_directions(features, batch), both_directions(pyramid, batch)
        flows: list[Tensor] = []
        hidden: list[Tensor] = []
        for level in range(COARSEST, self.settings.finest_level - 1, -1):
            inferred, hidden = self.levels[str(level)](features.pop(), pyramid.pop(), flows[-1] if flows else None)
            flows += inferred
        if self.pseudo is not None:
            flows += self.pseudo(flows[-1], *hidden)
        return self._prediction(flows, (height, width), inner, batch)

    def _normalise(self, first: Tensor, second: Tensor, size: Size) -> Tensor:
        """RGB in [0,1] -> both images in one batch, BGR, mean-free, resized: (2B,3,*size)."""
        images = torch.stack([first, second]).flip(2).sub_(self.means.unsqueeze(1))
        return self._resize(images.flatten(0, 1), size)

    def _resize(self, maps: Tensor, size: Size) -> Tensor:
        if self.settings.resampling == "caffe":
            return caffe_resampling.resample(maps, size)
        return resize(maps, size)

    def _image_pyramid(self, images: Tensor) -> list[Tensor | None]:
        """Images (2B,3,H,W) at the sizes of levels 1..6; None for levels without inference."""
        levels: list[Tensor | None] = []
        height, width = images.shape[2:]
        previous = fourth = images
        for level in range(1, COARSEST + 1):
            size = (height // 2 ** (level - 1), width // 2 ** (level - 1))
            if self.settings.resampling == "interpolate":
                previous = resize(previous, size)
            elif level >= min(4, self.settings.finest_level):
                previous = caffe_resampling.downsample(images if level <= 4 else fourth, size)
                fourth = previous if level == 4 else fourth
            levels.append(previous if level >= self.settings.finest_level else None)
        return levels

    def _prediction(self, flows: list[Tensor], size: Size, inner: Size, batch: int) -> FlowPrediction:
        """From flow units at every level to pixels of the input; the finest flow at the input's size."""
        factors = FLOW_UNIT * ratio(size[1], inner[1]), FLOW_UNIT * ratio(size[0], inner[0])
        flow = scale_flow(self._resize(flows[-1], size), *factors)
        pyramid = [scale_flow(level, *factors) for level in flows]
        return split_directions(flow, pyramid, batch)
