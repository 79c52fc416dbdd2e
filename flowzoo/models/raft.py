"""RAFT. Teed, Deng: "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020.

Inside this file flow is in pixels of the 1/8 grid.
"""

from contextlib import nullcontext
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.blocks.convex_head import ConvexHead
from flowzoo.blocks.memory import memory_beside
from flowzoo.blocks.normalised_convolution import BatchNorm
from flowzoo.blocks.padding import padding_to
from flowzoo.blocks.precision import matched_exactly
from flowzoo.blocks.recurrent_update import MotionEncoder, UpdateBlock
from flowzoo.blocks.residual_encoder import ResidualEncoder
from flowzoo.blocks.resize import resize_corners
from flowzoo.errors import InputError
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.operators.lookup import STORED_BYTES, prepare_lookup
from flowzoo.zoo.raft import RAFTSettings

STRIDE = 8
LEAST = 16
"""Smallest side that images are padded to: instance norm needs more than one pixel at 1/8."""
KERNELS = {"separable": ((1, 5), (5, 1)), "square": ((3, 3),)}


class RAFT(FlowNetwork):
    """See `flowzoo.zoo.raft.RAFTSettings` for what can be changed."""

    multiple = STRIDE
    takes_start = True
    exported_settings: ClassVar = {"cost_volume": ("stored", "")}

    def __init__(self, settings: RAFTSettings) -> None:
        super().__init__()
        check(settings)
        self.settings = settings
        self.bytes_per_pixel = 5 * settings.channels[0]  # the features at half the size
        costs = settings.levels * (2 * settings.radius + 1) ** 2
        self.features = ResidualEncoder(settings.channels, settings.features, "instance", settings.block)
        outputs = settings.hidden + settings.context
        self.context = ResidualEncoder(settings.channels, outputs, settings.context_norm, settings.block)
        initialise(self)
        motion = MotionEncoder(costs, settings.cost_channels, settings.flow_channels, settings.motion_channels)
        self.update = UpdateBlock(
            settings.hidden,
            settings.context,
            motion,
            settings.motion_channels,
            KERNELS[settings.recurrence],
            settings.head_channels,
        )
        convex = settings.upsampling == "convex"
        self.upsampling = ConvexHead(settings.hidden, 256, STRIDE) if convex else None
        self.train()

    def train(self, mode: bool = True) -> "RAFT":
        """As `torch.nn.Module.train`; frozen batch norms stay in evaluation."""
        super().train(mode)
        if self.settings.batch_norm == "frozen":
            for module in self.modules():
                if isinstance(module, BatchNorm):
                    module.eval()
        return self

    def predict(self, first: Tensor, second: Tensor, start: Tensor | None = None) -> FlowPrediction:
        """See `FlowNetwork.forward`.

        In training `pyramid` has the flow after every iteration, else after the last one. `details` has "coarse_flow"
        (B,2,h,w): the last flow on the padded 1/8 grid, in pixels of that grid.

        Outside training a CPU computes all of it in float32, whatever autocast says: every iteration looks where the
        one before it led, and what a half type rounds away in any part, encoders or update, ends pixels away.

        Args:
            start: as "coarse_flow", where to start from; None = zero.
        """
        with matched_exactly(self, first) if first.is_cpu else nullcontext():
            return self._predict(first, second, start)

    def _predict(self, first: Tensor, second: Tensor, start: Tensor | None) -> FlowPrediction:
        padding = padding_to((first.shape[2], first.shape[3]), STRIDE, self.settings.padding, LEAST)
        # One image at a time needs half the memory of both in a batch, and no more time.
        image = _scaled(padding.pad(first))
        one, constant = self.features(image), self.context(image)
        pixels = image.shape[0] * image.shape[2] * image.shape[3]
        image = _scaled(padding.pad(second))
        two = self.features(image)
        memory = memory_beside(self.bytes_per_pixel * pixels, STORED_BYTES)
        numbers = self.settings.radius, self.settings.levels
        lookup = prepare_lookup(one, two, *numbers, self.settings.cost_volume, memory)
        state, context = constant.split((self.settings.hidden, self.settings.context), dim=1)
        state, prepared = torch.tanh(state), self.update.prepare(F.relu(context))
        precise = torch.promote_types(first.dtype, torch.float32)
        grid = _grid(one).to(precise)
        flow = torch.zeros_like(grid).repeat(first.shape[0], 1, 1, 1)
        if start is not None:
            if start.shape != flow.shape:
                raise InputError(f"start must be {tuple(flow.shape)} for these images, got {tuple(start.shape)}")
            flow = start.to(flow)
        flows: list[Tensor] = []
        for iteration in range(1, self.settings.iterations + 1):
            flow = flow.detach()
            state, residual = self.update(state, lookup(grid + flow), flow.to(one.dtype), prepared)
            flow = flow + residual.to(precise)
            if self.training or iteration == self.settings.iterations:
                flows.append(padding.cut(self._enlarged(state, flow)))
        return FlowPrediction(flow=flows[-1], pyramid=flows, details={"coarse_flow": flow})

    def _enlarged(self, state: Tensor, flow: Tensor) -> Tensor:
        if self.upsampling is not None:
            return cast(Tensor, self.upsampling(state, flow))
        size = (STRIDE * flow.shape[2], STRIDE * flow.shape[3])
        return STRIDE * resize_corners(flow, size)


def _scaled(images: Tensor) -> Tensor:
    """0..1 to -1..1, in the memory layout that convolutions are fastest in."""
    scaled = images * 2 - 1
    return scaled.contiguous(memory_format=torch.channels_last) if images.device.type == "cpu" else scaled


def _grid(maps: Tensor) -> Tensor:
    """(1,2,H,W): every pixel's own coordinates, x then y."""
    height, width = maps.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=maps.device), torch.arange(width, device=maps.device), indexing="ij"
    )
    return torch.stack([x, y])[None]


def initialise(network: nn.Module) -> None:
    """The encoders' start as published: He-normal by the outputs; biases as PyTorch draws them."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def check(settings: RAFTSettings) -> None:
    """Refuse settings that do not make a network.

    Raises:
        InputError: naming the setting.
    """
    for name in ("iterations", "levels", "features", "hidden", "context", "head_channels"):
        if getattr(settings, name) < 1:
            raise InputError(f"{name} must be at least 1, got {getattr(settings, name)}")
    if not 0 <= settings.radius <= 16:
        raise InputError(f"radius must be 0 to 16, got {settings.radius}")
    if settings.motion_channels < 3:
        raise InputError(
            f"motion_channels must be at least 3 (two of them are the flow), got {settings.motion_channels}"
        )
    if settings.block == "bottleneck" and any(channels % 4 for channels in settings.channels[1:]):
        raise InputError(f"channels of bottleneck blocks must be multiples of 4, got {settings.channels}")
    if not settings.cost_channels:
        raise InputError("cost_channels needs at least one value")
