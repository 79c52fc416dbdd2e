"""Any super-resolution network on any frames: uint8 in, uint8 of `scale` times the size out.

Decides precision, how frames that are too large are cut, and how many frames of a clip are computed together.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from flowzoo.blocks.bicubic import resize_bicubic
from flowzoo.blocks.padding import pad_reflected
from flowzoo.datasets.degradations import to_8bit
from flowzoo.errors import InputError
from flowzoo.inference.tiling import TilePlan, blend_tiles, plan_tiles
from flowzoo.network import VideoNetwork

DEFAULT_MEMORY = 2.0
"""Gigabytes that one batch may take before frames are cut into tiles."""
FACTOR = 4
"""How much all of these networks enlarge."""
TILE_UNIT = 64
"""Tile sides and places are multiples of this, pixels: a grid that every network and the flow inside it shares."""
CHUNK_LEAST, CHUNK_MOST, CHUNK_OVERLAP = 16, 60, 8
"""Frames of a clip that are computed together by networks that take any number: rather tiles than fewer than the
first, at most the second; and how many more on either side."""


@dataclass(frozen=True)
class EnlargingPlan:
    """How a clip is computed.

    Attributes:
        tiles: overlapping tiles of the frames that are blended, or None for whole frames.
        chunk: frames of a chunk, for networks that take any number, else None.
        overlap: frames that a chunk also sees on either side.
    """

    tiles: TilePlan | None = None
    chunk: int | None = None
    overlap: int = 0


@dataclass
class Enlarger:
    """Runs a super-resolution network.

    Attributes:
        network: in eval mode, on the device that is to be used.
        precision: of the convolutions; float32, or bfloat16 / float16 by autocast.
        memory: gigabytes that one batch may take.
        scale: 2, 3 or 4; what the network has enlarged four times is reduced bicubically to 2 or 3.
        chunk: frames of a chunk, for networks that take any number; None: as many as `memory` allows.
    """

    network: VideoNetwork
    precision: torch.dtype = torch.float32
    memory: float = DEFAULT_MEMORY
    scale: int = FACTOR
    chunk: int | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.scale <= FACTOR:
            raise InputError(f"--scale can be 2, 3 or 4, got {self.scale}")
        if self.network.device.type == "cpu":
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not self.memory > 0:
            raise InputError(f"memory must be above 0 gigabytes, got {self.memory}")
        if self.network.scale * (FACTOR if self.network.enlarged_input else 1) != FACTOR:
            raise InputError(
                f"{self.network.model_name} with these settings gives frames of the size of its input: "
                "choose a network that enlarges"
            )

    def plan(self, size: tuple[int, int], batch: int = 1) -> EnlargingPlan:
        """How frames of this size are computed within `memory`, `batch` windows at once."""
        network = self.network
        frame = [-(-side // TILE_UNIT) * TILE_UNIT for side in size]
        shared = CHUNK_OVERLAP if self.chunk is None else min(CHUNK_OVERLAP, self.chunk)
        least = CHUNK_LEAST if self.chunk is None else self.chunk + 2 * shared
        least = 1 if network.frames_in is not None else least
        frames = self.memory * 1e9 / network.bytes_per_pixel / (size[0] * size[1] * batch)
        tiles = None
        if frames < least:
            pixels = int(self.memory * 1e9 / network.bytes_per_pixel / (batch * least))
            found = plan_tiles((frame[0], frame[1]), TILE_UNIT, pixels)
            tiles = found if found.count > 1 else None
        if network.frames_in is not None:
            return EnlargingPlan(tiles)
        if self.chunk is not None:
            return EnlargingPlan(tiles, self.chunk, shared)
        together = least if tiles is not None else min(max(int(frames), least), CHUNK_MOST)
        overlap = min(shared, together // 4)
        return EnlargingPlan(tiles, together - 2 * overlap, overlap)

    def windows(self, windows: list[list[np.ndarray]]) -> list[np.ndarray]:
        """Windows of T frames HxWx3 uint8 -> for each the middle frame enlarged, (scale*H)x(scale*W)x3 uint8."""
        frames = torch.stack([self._tensor(window) for window in windows])
        return self._bytes(self.predict(frames)[:, 0])

    def clip(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """All frames of a clip or chunk at once, for networks that take any number."""
        return self._bytes(self.predict(self._tensor(frames)[None])[0])

    def _tensor(self, frames: list[np.ndarray]) -> Tensor:
        for frame in frames:
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
                raise InputError(f"a frame must be HxWx3 uint8 RGB, got {frame.shape} {frame.dtype}")
            if frame.shape != frames[0].shape:
                raise InputError(f"frames of one clip have different sizes: {frames[0].shape} and {frame.shape}")
        stacked = torch.from_numpy(np.stack(frames)).to(self.network.device)
        return stacked.permute(0, 3, 1, 2).float() / 255

    def _bytes(self, frames: Tensor) -> list[np.ndarray]:
        """(N,3,H,W) enlarged four times -> N frames of `scale` times the size."""
        if self.scale != FACTOR:
            frames = resize_bicubic(frames, Fraction(self.scale, FACTOR))
        return list(to_8bit(frames).permute(0, 2, 3, 1).contiguous().cpu().numpy())

    @torch.inference_mode()
    def predict(self, frames: Tensor) -> Tensor:
        """(B,T,3,H,W) float RGB in 0..1, on the network's device -> (B,T',3,4H,4W) float, not clamped."""
        height, width = frames.shape[-2:]
        batch = len(frames)
        plan = self.plan((height, width), batch)
        if plan.tiles is None:
            return self._network(frames)
        padded = pad_reflected(frames, TILE_UNIT)
        count = 0

        def tile(top: int, left: int, tall: int, wide: int) -> Tensor:
            nonlocal count
            found = self._network(padded[..., top : top + tall, left : left + wide])
            count = found.shape[1]
            return found.flatten(0, 1)

        blended = blend_tiles(plan.tiles, tile, FACTOR)[..., : FACTOR * height, : FACTOR * width]
        return blended.view(batch, count, *blended.shape[1:])

    def _network(self, frames: Tensor) -> Tensor:
        if self.network.enlarged_input:
            # As in the published data: MATLAB's bicubic, rounded to 8 bits.
            frames = to_8bit(resize_bicubic(frames, FACTOR)).float() / 255
        with torch.autocast(frames.device.type, self.precision, enabled=self.precision != torch.float32):
            result: Tensor = self.network(frames).frames.float()
        return result
