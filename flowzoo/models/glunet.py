"""GLU-Net, GLU-Net-GOCor and Semantic-GLU-Net.

Truong, Danelljan, Timofte: "GLU-Net: Global-Local Universal Network for Dense Flow and Correspondences", CVPR 2020;
Truong et al.: "GOCor", NeurIPS 2020. Flow is in pixels of the image that a level works on: the pair at 256x256 at the
two coarse levels ("L-Net"), the pair at its own size, rounded to multiples of 8, at the two fine ones ("H-Net").
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.context import REACH as CONTEXT_REACH
from flowzoo.blocks.convolution import initialise
from flowzoo.blocks.matching_decoders import GROWTH, MappingDecoder, NormedContext, ResidualFlowDecoder
from flowzoo.blocks.matching_geometry import mapping_to_flow, mirror_back, prepare, to_second_size
from flowzoo.blocks.matching_layers import GlobalMatching, LocalMatching
from flowzoo.blocks.precision import FlowDoubling
from flowzoo.blocks.resize import Size, resize, scale_flow
from flowzoo.blocks.strips import Rows, strip_by_strip
from flowzoo.blocks.upsampling import doubling
from flowzoo.blocks.vgg import CHANNELS, VGGPyramid
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.operators import warp
from flowzoo.zoo.glunet import GLUNetSettings

COARSE = 256
"""Side of the images of the two coarse levels."""
GRID = 16
"""Side of the coarsest level."""
RADIUS = 4
REACH = RADIUS + len(GROWTH) + CONTEXT_REACH
"""Rows above and below that a pixel of a local level sees."""
LARGEST_STEP = 3
"""Ratio of sizes between the coarse and the fine levels above which passes in between pay."""


class GLUNet(FlowNetwork):
    """All GLU-Nets; see `flowzoo.zoo.glunet.GLUNetSettings`."""

    same_size = False
    multiple = 8
    tileable = False
    any_size_once_traced = False
    bytes_per_pixel = 640
    bytes_per_pixel_in_strips = 230
    pixels_of_strip = 880_000
    lowered_bytes_per_pixel = 440
    lowered_bytes_per_pixel_in_strips = 200

    def __init__(self, settings: GLUNetSettings) -> None:
        super().__init__()
        self.settings = settings
        costs = (2 * RADIUS + 1) ** 2
        coarse_channels = CHANNELS[4] * (2 if settings.semantic_features else 1)
        self.backbone = VGGPyramid(trained=settings.train_backbone)
        self.global_matching = GlobalMatching(
            settings.global_matching, coarse_channels, settings.global_gocor, mutual=settings.mutual_matching
        )
        self.local_matching = LocalMatching(settings.local_matching, RADIUS, settings.local_gocor)
        self.mapping = MappingDecoder(GRID * GRID)
        self.enlarge_mapping = FlowDoubling()
        self.decoder3 = ResidualFlowDecoder(costs + 2)
        self.context3 = NormedContext(self.decoder3.outputs)
        self.decoder2 = ResidualFlowDecoder(costs + 2)
        self.enlarge_flow = FlowDoubling()
        self.enlarge_features = doubling(self.decoder2.outputs, 2)
        self.decoder1 = ResidualFlowDecoder(costs + 4)
        self.context1 = NormedContext(self.decoder1.outputs)
        # The local query objective ties all of an image's filters together.
        self.rows = Rows(None if settings.gocor_local_query_loss else REACH)
        initialise(self)

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """See `FlowNetwork.forward`. The images may differ in size; flow leads to pixels of the second."""
        mirrored = None
        if self.settings.flipping and not self.training:
            mirrored = self._mirrored(first, second)
            first = torch.where(mirrored, first.flip(3), first)
        size, second_size = (first.shape[2], first.shape[3]), (second.shape[2], second.shape[3])
        inner = (inner_side(size[0]), inner_side(size[1]))
        rounding = self.settings.input_rounding
        fine = [prepare(images, inner, rounding) for images in (first, second)]
        coarse = fine
        if inner != (COARSE, COARSE):
            coarse = [prepare(images, (COARSE, COARSE), rounding) for images in (first, second)]
        features = [self._features(c, f) for c, f in zip(coarse, fine, strict=True)]
        coarse_flows = self._coarse_flows(*(level[0] for level in features))
        fine_flows = self._fine_flows(coarse_flows[-1], inner, *(level[1] for level in features))

        def finish(flow: Tensor, at: Size) -> Tensor:
            flow = scale_flow(flow, size[1] / at[1], size[0] / at[0])
            if mirrored is not None and flow.shape[2:] == size:
                flow = torch.where(mirrored, mirror_back(flow), flow)
            return flow

        full = to_second_size(finish(resize(fine_flows[-1], size), inner), second_size)
        pyramid = [finish(flow, (COARSE, COARSE)) for flow in coarse_flows]
        pyramid += [finish(flow, inner) for flow in fine_flows]
        details = {} if mirrored is None else {"mirrored": mirrored.flatten()}
        return FlowPrediction(flow=full, pyramid=pyramid, details=details)

    def _features(self, coarse: Tensor, fine: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Features of one image: at 16x16 and 32x32 of the coarse one, at 1/8 and 1/4 of the fine one."""
        if coarse is fine:
            levels = self.backbone(fine, (2, 3, 4))
            small = levels
        else:
            levels, small = self.backbone(fine, (2, 3)), self.backbone(coarse, (3, 4))
        return self._coarse_features(small), (levels[3], levels[2])

    def _coarse_features(self, levels: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """What is matched at 16x16 and at 32x32."""
        if not self.settings.semantic_features:
            return levels[4], levels[3]
        half = resize(levels[4], (GRID // 2, GRID // 2))
        stacked = torch.cat([levels[4], resize(half, (GRID, GRID))], dim=1)
        double = (2 * GRID, 2 * GRID)
        return stacked, torch.cat([levels[3], resize(levels[4], double), resize(half, double)], dim=1)

    def _coarsest(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Global scores and the flow at 16x16, in pixels of the 256x256 image."""
        scores = self.global_matching(first, second)
        return scores, mapping_to_flow(self.mapping(scores)) * (COARSE / GRID)

    def _coarse_flows(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Flow at 16x16 and 32x32, in pixels of the 256x256 image."""
        _, flow4 = self._coarsest(first[0], second[0])
        start = self.enlarge_mapping(flow4)
        aligned = warp(second[1], start * (2 * GRID / COARSE))
        (residual,) = self._local(self.decoder3, self.context3, first[1], aligned, start)
        return [flow4, start + residual]

    def _fine_flows(
        self, flow3: Tensor, inner: Size, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
    ) -> list[Tensor]:
        """Flow at 1/8 and 1/4 of the inner image, in its pixels."""
        flow = scale_flow(flow3, inner[1] / COARSE, inner[0] / COARSE)
        passes = self.refinement_passes(inner) if self.settings.iterative_refinement and not self.training else 0
        for number in range(passes, 0, -1):
            ratio = 1 / (8 * 2**number)
            size = (max(1, int(inner[0] * ratio)), max(1, int(inner[1] * ratio)))
            flow = resize(flow, size)
            one, two = (F.interpolate(features[0], size=size, mode="area") for features in (first, second))
            residual, _ = self._local(self.decoder2, None, one, warp(two, flow * ratio), flow)
            flow = flow + residual
        start = resize(flow, (inner[0] // 8, inner[1] // 8))
        residual, maps = self._local(self.decoder2, None, first[0], warp(second[0], start * (1 / 8)), start)
        flow2 = start + residual
        start = self.enlarge_flow(flow2)
        aligned, more = warp(second[1], start * (1 / 4)), self.enlarge_features(maps)
        (residual,) = self._local(self.decoder1, self.context1, first[1], aligned, start, more)
        return [flow2, start + residual]

    @strip_by_strip
    def _local(
        self, decoder: nn.Module, context: nn.Module | None, first: Tensor, aligned: Tensor, *seen: Tensor
    ) -> list[Tensor]:
        """One local level: its flow residual and, if no context network uses them up, the decoder's maps."""
        residual, maps = decoder([self.local_matching(first, aligned), *seen])
        return [residual, maps] if context is None else [residual + context(maps)]

    def refinement_passes(self, inner: Size) -> int:
        """Number of further passes of level 2 between 32x32 and 1/8 of the inner image."""
        side = max(inner) if self.settings.refinement_size == "longer-side" else inner[1]
        return max(0, round(math.log2(side / COARSE / LARGEST_STEP)))

    def _mirrored(self, first: Tensor, second: Tensor) -> Tensor:
        """For each pair whether the mirrored first image matches better, (B,1,1,1) bool.

        It does if it is better from the first image to the second and from the second to the first. Better is less
        horizontal motion, or, with GOCor, larger best scores.
        """
        images = [prepare(image, (COARSE, COARSE), self.settings.input_rounding) for image in (first, second)]
        plain = [self._coarse_features(self.backbone(image, (3, 4)))[0] for image in images]
        flipped = [self._coarse_features(self.backbone(image.flip(3), (3, 4)))[0] for image in images]
        better = [self._quality(flipped[a], plain[b]) > self._quality(plain[a], plain[b]) for a, b in ((0, 1), (1, 0))]
        return (better[0] & better[1]).view(-1, 1, 1, 1)

    def _quality(self, first: Tensor, second: Tensor) -> Tensor:
        scores, flow = self._coarsest(first, second)
        if self.settings.global_matching == "gocor":
            return scores.flatten(2).amax(dim=2).sum(dim=1)
        return -flow[:, 0].abs().mean(dim=(1, 2))


def inner_side(side: int) -> int:
    """Side of the fine levels' image: a multiple of 8, at least 256."""
    return max(COARSE, side // 8 * 8)
