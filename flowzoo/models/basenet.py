"""BaseNet, the network of GOCor's ablation study (section 4.5 and Table 6), and BaseNet-GOCor.

Three levels on the pair at 256x256; flow is in pixels of that image inside this file.
"""

from torch import Tensor

from flowzoo.blocks.convolution import initialise
from flowzoo.blocks.matching_decoders import MappingDecoder, NormedContext, ResidualFlowDecoder
from flowzoo.blocks.matching_geometry import mapping_to_flow, prepare, to_second_size
from flowzoo.blocks.matching_layers import GlobalMatching, LocalMatching
from flowzoo.blocks.resize import resize, scale_flow
from flowzoo.blocks.upsampling import doubling
from flowzoo.blocks.vgg import CHANNELS, VGGPyramid
from flowzoo.models.glunet import COARSE, GRID, RADIUS
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.operators import warp
from flowzoo.zoo.basenet import BaseNetSettings


class BaseNet(FlowNetwork):
    """See `flowzoo.zoo.basenet.BaseNetSettings`."""

    same_size = False
    multiple = 1
    tileable = False
    any_size_once_traced = False
    bytes_per_pixel = 12
    fixed_bytes = 33_000_000

    def __init__(self, settings: BaseNetSettings) -> None:
        super().__init__()
        self.settings = settings
        costs = (2 * RADIUS + 1) ** 2
        self.backbone = VGGPyramid(trained=settings.train_backbone)
        self.global_matching = GlobalMatching(
            settings.global_matching, CHANNELS[4], settings.global_gocor, mutual=settings.mutual_matching
        )
        self.local_matching = LocalMatching(settings.local_matching, RADIUS, settings.local_gocor)
        self.mapping = MappingDecoder(GRID * GRID)
        self.decoder3 = ResidualFlowDecoder(costs + 2)
        self.enlarge_features = doubling(self.decoder3.outputs, 2)
        self.decoder2 = ResidualFlowDecoder(costs + 4)
        self.context = NormedContext(self.decoder2.outputs)
        initialise(self)

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """See `FlowNetwork.forward`. The images may differ in size; flow leads to pixels of the second."""
        size, second_size = (first.shape[2], first.shape[3]), (second.shape[2], second.shape[3])
        images = [prepare(image, (COARSE, COARSE), self.settings.input_rounding) for image in (first, second)]
        reference, query = (self.backbone(image, (2, 3, 4)) for image in images)
        flow4 = mapping_to_flow(self.mapping(self.global_matching(reference[4], query[4]))) * (COARSE / GRID)
        start = resize(flow4, (2 * GRID, 2 * GRID))
        scores = self.local_matching(reference[3], warp(query[3], start * (2 * GRID / COARSE)))
        residual, maps = self.decoder3([scores, start])
        flow3 = start + residual
        start = resize(flow3, (4 * GRID, 4 * GRID))
        scores = self.local_matching(reference[2], warp(query[2], start * (4 * GRID / COARSE)))
        residual, maps = self.decoder2([scores, start, self.enlarge_features(maps)])
        flow2 = start + residual + self.context(maps)
        pyramid = [scale_flow(flow, size[1] / COARSE, size[0] / COARSE) for flow in (flow4, flow3, flow2)]
        return FlowPrediction(flow=to_second_size(resize(pyramid[-1], size), second_size), pyramid=pyramid)
