"""Any network on any images: uint8 frames in, flow in pixels of these frames out.

Decides precision, memory layout, and how frames that are too large are cut.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo import registry
from flowzoo.blocks.memory import memory_limit
from flowzoo.blocks.resize import Size, resize, round_up, scale_flow
from flowzoo.blocks.strips import strip_pixels
from flowzoo.creation import create_flow_network, default_weights
from flowzoo.errors import InputError
from flowzoo.flow.forward_backward import cycle_confidence, occlusion
from flowzoo.freed_memory import give_back, keep_freed_memory
from flowzoo.inference.arrays import fault_of
from flowzoo.inference.continuation import Continuation
from flowzoo.inference.memory_bound import check_memory, default_memory, halves_maps
from flowzoo.inference.recorded import Recorded, worth_recording
from flowzoo.inference.tiling import TilePlan, blend_tiles, plan_tiles
from flowzoo.network import FlowNetwork, FlowPrediction

STRIP_PIXELS = 1 << 16
"""Pixels of a strip, at the resolution of the maps it is cut from."""
BYTES_OF_PAIR = 24
"""Two RGB images in float32, by pixels of one."""
BYTES_OF_TILED_PAIR = 2 * BYTES_OF_PAIR + 16
"""Where a frame is tiled: the pair, the pair at the tiles' grid, the maps that are blended, and their weights."""
SHARE_ALONE = 0.5
"""Of the memory bound: before a pass that needs more than this, freed memory that the process keeps is given back."""
LEAST_SHARE_OF_TILES = 0.5
"""Of the memory bound, that a tile may take even where the frame leaves less."""
SHARE_RECORDED = 0.2
"""Of the memory bound, that a pass may need to be recorded as a CUDA graph, which keeps that memory."""


@dataclass(frozen=True)
class Estimate:
    """What an `Estimator` finds for one pair; all arrays have the first image's size.

    Attributes:
        flow: HxWx2 float32, x then y, pixels of the first image.
        confidence: HxW float32 in 0..1, or None where the network has none.
        occlusion: HxW bool, True = occluded, or None when it was not asked for.
        backward: as `flow`, from second to first, or None when it was not asked for.
    """

    flow: np.ndarray
    confidence: np.ndarray | None = None
    occlusion: np.ndarray | None = None
    backward: np.ndarray | None = None


@dataclass(frozen=True)
class Plan:
    """How a frame is computed: whole, in strips (the same result), or in blended tiles (each perhaps in strips)."""

    strip_pixels: int | None = None
    tiles: TilePlan | None = None


@dataclass
class Estimator:
    """Runs a network on images.

    Attributes:
        network: in eval mode, on the device that is to be used.
        precision: of the convolutions; float32, or bfloat16 / float16 by autocast.
        memory: gigabytes that activations may take; larger frames run in overlapping strips or tiles, larger batches
            in parts. None: `default_memory` of the network's device.
        scale: factor by which images are resized first; flow comes back in pixels of the original.
        backward: also estimate the flow from second to first.
        occlusion: also estimate occlusion by the forward-backward check (needs the backward flow, computed anyway).
        confidence: where the network has none of its own, find it by cyclic consistency (likewise).
        warm_start: start a pair from the flow of the call before, where that ended in this pair's first image; batches
            of one pair, whole frames.
        keep_memory: on a CPU, call `keep_freed_memory` for this process: without it the system hands out fresh pages
            for every pair, which takes up to a quarter of the time.
        bound: `memory`, or what stands for it.
        lowered: whether maps take half the memory: bfloat16, on a CPU that has it.

    On CUDA, passes of one size that come again are recorded as a CUDA graph (`recorded.py`).
    """

    network: FlowNetwork
    precision: torch.dtype = torch.float32
    memory: float | None = None
    scale: float = 1.0
    backward: bool = False
    occlusion: bool = False
    confidence: bool = False
    warm_start: bool = False
    keep_memory: bool = True
    continuation: Continuation | None = field(default=None, init=False)
    bound: float = field(default=0.0, init=False)
    lowered: bool = field(default=False, init=False)
    recorded: Recorded | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not (0 < self.scale <= 16):
            raise InputError(f"scale must be above 0 and at most 16, got {self.scale}")
        self.bound = default_memory(self.network.device) if self.memory is None else check_memory(self.memory)
        self.lowered = halves_maps(self.network.device, self.precision)
        if self.warm_start:
            self.continuation = Continuation(self.network)
        if worth_recording(self.network.device):
            self.recorded = Recorded(self.network, self._eager)
        on_cpu = self.network.device.type == "cpu"
        if on_cpu and self.keep_memory:
            keep_freed_memory()
        if on_cpu and self.network.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def plan(self, height: int, width: int) -> Plan:
        """How a frame of this size is computed within `memory`."""
        return self._plan(self._working_size(height, width))

    def _plan(self, size: Size) -> Plan:
        network, bound = self.network, self.bound * 1e9
        frame = round_up(size, network.multiple)
        pixels = frame[0] * frame[1]
        if self._bytes(pixels) <= bound:
            return Plan()
        can_strip = network.bytes_per_pixel_in_strips is not None
        if (can_strip and self._bytes(pixels, strips=True) <= bound) or not network.tileable:
            return Plan(strip_pixels=STRIP_PIXELS)
        left = max(LEAST_SHARE_OF_TILES * bound, bound - BYTES_OF_TILED_PAIR * pixels)
        most = network.pixels_within(left, lowered=self.lowered, strips=can_strip)
        tiles = plan_tiles(frame, network.multiple, most)
        return Plan(STRIP_PIXELS if can_strip else None, tiles if tiles.count > 1 else None)

    def _bytes(self, pixels: int, *, strips: bool = False) -> int:
        """Of a pair and what its pass through the network needs."""
        return BYTES_OF_PAIR * pixels + self.network.peak_bytes(pixels, lowered=self.lowered, strips=strips)

    def pairs_at_once(self, height: int, width: int) -> int:
        """How many pairs of this size are computed together within `memory`; at least 1."""
        size = self._working_size(height, width)
        return self._pairs_at_once(size, self._plan(size))

    def _pairs_at_once(self, size: Size, plan: Plan) -> int:
        height, width = round_up(size, self.network.multiple)
        strips = plan.strip_pixels is not None
        needed = self._bytes(height * width, strips=strips)
        if plan.tiles is not None:
            tall, wide = plan.tiles.tile
            needed = self.network.peak_bytes(tall * wide, lowered=self.lowered, strips=strips)
            needed += BYTES_OF_TILED_PAIR * height * width
        return max(1, int(self.bound * 1e9 / needed))

    def __call__(self, first: np.ndarray, second: np.ndarray) -> Estimate:
        """One pair: HxWx3 RGB twice, uint8 or (all of 0 to 65535) uint16."""
        return self.batch([first], [second])[0]

    def batch(self, firsts: list[np.ndarray], seconds: list[np.ndarray]) -> list[Estimate]:
        """Several pairs of one size at once.

        Raises:
            InputError: an image is not HxWx3 uint8 or uint16, or sizes differ.
        """
        first, second = self._tensor(firsts), self._tensor(seconds)
        start = self.continuation.start(firsts[0]) if self.continuation is not None and len(firsts) == 1 else None
        forward = self.predict(first, second, start)
        if self.continuation is not None:
            self.continuation.keep(seconds[-1], forward)
        confidence = forward.confidence
        cyclic = self.confidence and confidence is None
        reverse = self.predict(second, first) if self.backward or self.occlusion or cyclic else None
        if cyclic and reverse:
            confidence = cycle_confidence(forward.flow, reverse.flow)
        hidden = occlusion(forward.flow, reverse.flow).cpu().numpy() if self.occlusion and reverse else None
        return [
            Estimate(
                flow=_array(forward.flow[index]),
                confidence=None if confidence is None else confidence[index, 0].float().cpu().numpy(),
                occlusion=None if hidden is None else hidden[index],
                backward=_array(reverse.flow[index]) if self.backward and reverse else None,
            )
            for index in range(len(firsts))
        ]

    def _tensor(self, images: list[np.ndarray]) -> Tensor:
        for image in images:
            fault = fault_of(image)
            if fault:
                raise InputError(f"an image must be an HxWx3 uint8 RGB array, got {fault}")
            if image.shape != images[0].shape:
                raise InputError(f"images of one batch have different sizes: {images[0].shape} and {image.shape}")
        if any(image.dtype == np.uint16 for image in images):
            scaled = [np.divide(image, np.iinfo(image.dtype).max, dtype=np.float32) for image in images]
            return torch.from_numpy(np.stack(scaled)).to(self.network.device).permute(0, 3, 1, 2).contiguous()
        stacked = torch.from_numpy(np.ascontiguousarray(np.stack(images)))
        return stacked.to(self.network.device).permute(0, 3, 1, 2).float().div_(255)

    def _working_size(self, height: int, width: int) -> Size:
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    @torch.inference_mode()
    def predict(self, first: Tensor, second: Tensor, start: Tensor | None = None) -> FlowPrediction:
        """(B,3,H,W) float RGB in [0,1] twice, on the network's device -> flow and confidence at the first's size.

        `start` is for `FlowNetwork.from_start`; frames in tiles do not use it.
        """
        height, width = first.shape[2:]
        if self.scale != 1:
            sizes = [self._working_size(*images.shape[2:]) for images in (first, second)]
            first, second = (
                F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=self.scale < 1)
                for images, size in zip((first, second), sizes, strict=True)
            )
        prediction = self._predict(first, second, start)
        if self.scale == 1:
            return prediction
        inner = first.shape[2:]
        flow = scale_flow(resize(prediction.flow, (height, width)), width / inner[1], height / inner[0])
        confidence = prediction.confidence
        confidence = None if confidence is None else resize(confidence, (height, width))
        return FlowPrediction(flow=flow, confidence=confidence, details=prediction.details)

    def _predict(self, first: Tensor, second: Tensor, start: Tensor | None) -> FlowPrediction:
        """As `predict` at scale 1.

        What a pair's frames need decides how they are cut, and then how many pairs go together: how many come makes no
        difference to the flow.
        """
        size = first.shape[2], first.shape[3]
        plan = self._plan(size)
        with strip_pixels(plan.strip_pixels), memory_limit(self.bound * 1e9):
            if start is not None:
                return self._planned(plan, first, second, start)
            count = self._pairs_at_once(size, plan)
            parts = zip(first.split(count), second.split(count), strict=True)
            return _joined([self._planned(plan, *part, None) for part in parts])

    def _planned(self, plan: Plan, first: Tensor, second: Tensor, start: Tensor | None) -> FlowPrediction:
        height, width = first.shape[2:]
        if plan.tiles is None:
            prediction = self._network(first, second, start)
            return replace(prediction, flow=prediction.flow.float())
        # The network resizes to its stride anyway; doing it once keeps tiles on the whole frame's pixel grid.
        first, second = resize(first, plan.tiles.frame), resize(second, plan.tiles.frame)

        def tile(top: int, left: int, tall: int, wide: int) -> Tensor:
            window = (..., slice(top, top + tall), slice(left, left + wide))
            part = self._network(first[window], second[window])
            maps = [part.flow.float()] + ([] if part.confidence is None else [part.confidence.float()])
            return torch.cat(maps, dim=1)

        maps = resize(blend_tiles(plan.tiles, tile), (height, width))
        flow = scale_flow(maps[:, :2], width / plan.tiles.frame[1], height / plan.tiles.frame[0])
        return FlowPrediction(flow=flow, confidence=maps[:, 2:] if maps.shape[1] > 2 else None)

    def _network(self, first: Tensor, second: Tensor, start: Tensor | None = None) -> FlowPrediction:
        if start is not None:
            with self._autocast(first.device):
                return self.network.from_start(first, second, start)
        if self.recorded is not None and len(first) and self._leaves_memory(first):
            return self.recorded(first, second)
        return self._eager(first, second)

    def _eager(self, first: Tensor, second: Tensor) -> FlowPrediction:
        if first.is_cpu and len(first) * self._bytes(first.shape[2] * first.shape[3]) > SHARE_ALONE * self.bound * 1e9:
            give_back()
        with self._autocast(first.device):
            prediction: FlowPrediction = self.network(first, second)
        return prediction

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32)

    def _leaves_memory(self, images: Tensor) -> bool:
        """Whether the activations of a pass may stay in memory."""
        height, width = round_up((images.shape[2], images.shape[3]), self.network.multiple)
        needed = len(images) * self._bytes(height * width)
        return needed <= SHARE_RECORDED * self.bound * 1e9


def _joined(parts: list[FlowPrediction]) -> FlowPrediction:
    """Predictions of the parts of a batch as one; `details` are the last part's."""
    if len(parts) == 1:
        return parts[0]
    confidences = [part.confidence for part in parts if part.confidence is not None]
    return FlowPrediction(
        flow=torch.cat([part.flow for part in parts]),
        confidence=torch.cat(confidences) if confidences else None,
        details=parts[-1].details,
    )


def _array(flow: Tensor) -> np.ndarray:
    """(2,H,W) -> HxWx2 float32."""
    return np.ascontiguousarray(flow.permute(1, 2, 0).float().cpu().numpy())


def estimate(network_or_name: FlowNetwork | str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """See `flowzoo.estimate`."""
    if isinstance(network_or_name, str):
        registry.require_task(network_or_name, "flow")
        network = create_flow_network(network_or_name, default_weights(network_or_name))
    elif isinstance(network_or_name, FlowNetwork):
        network = network_or_name
    else:
        raise InputError(f"estimate takes a flow network or its name, got {type(network_or_name).__name__}")
    return Estimator(network)(first, second).flow
