"""Validation of super-resolution during training."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from flowzoo.blocks.bicubic import resize_bicubic
from flowzoo.datasets.degradations import to_8bit
from flowzoo.inference.enlarger import FACTOR, Enlarger
from flowzoo.inference.sequences import Frame
from flowzoo.inference.windows import chunks, windows
from flowzoo.metrics.image import psnr_8bit
from flowzoo.network import VideoNetwork
from flowzoo.training.super_resolution.settings import ClipSettings
from flowzoo.training.super_resolution.sources import DatasetSource, PackedSource, open_source

PACKED_LIMIT = 48
"""Packed clips that are validated on unless a limit is given."""


@dataclass(frozen=True)
class Validation:
    """Scores a network on data sets.

    Attributes:
        names: "NAME" or "NAME/SUBSET", under `root`; "packed-clips" are those that do not train.
        root: folder of the data.
        limit: clips of each set, from its start; 0 = all (of packed clips, 48).
    """

    names: tuple[str, ...]
    root: Path
    limit: int = 0

    def __post_init__(self) -> None:
        for name in self.names:
            self._open(name)

    def scores(self, network: VideoNetwork) -> dict[str, float]:
        """Mean PSNR of 8-bit RGB frames of each data set, dB; of data sets of clips, the mean over clips."""
        return {name: float(np.mean([np.mean(clip) for clip in self._clips(name, network)])) for name in self.names}

    def examples(self, network: VideoNetwork) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of the first frame that is scored: enlarged bicubically, at full size, and as the network has it."""
        found = {}
        for name in self.names:
            small, large, estimate = next(self._frames(name, network, 1))[0]
            plain = torch.from_numpy(small).permute(2, 0, 1).float() / 255
            found[name] = (to_8bit(resize_bicubic(plain, FACTOR)).permute(1, 2, 0).numpy(), large, estimate)
        return found

    def _open(self, name: str) -> DatasetSource | PackedSource:
        source = open_source("packed-clips/val" if name == "packed-clips" else name, self.root, ClipSettings(), 0)
        assert isinstance(source, (DatasetSource, PackedSource)), "rendered clips are no data set"
        return source

    def _clips(self, name: str, network: VideoNetwork) -> Iterator[list[float]]:
        """PSNR of every frame, clip by clip."""
        for clip in self._frames(name, network, self.limit):
            yield [_psnr(estimate, large) for _, large, estimate in clip]

    def _frames(
        self, name: str, network: VideoNetwork, limit: int
    ) -> Iterator[list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
        """Small, large and estimated frames of every clip."""
        source, enlarger = self._open(name), Enlarger(network)
        if isinstance(source, PackedSource):
            for index in range(min(len(source), limit or PACKED_LIMIT)):
                small, large, _ = source.packed[source.numbers[index]]
                frames = list(_bytes(small))
                taken = network.frames_in or len(frames)
                cut = (len(frames) - taken) // 2
                window = frames[cut : len(frames) - cut]
                found = enlarger.windows([window])[0] if network.frames_in else enlarger.clip(window)[taken // 2]
                yield [(frames[len(frames) // 2], next(_bytes(large[None])), found)]
            return
        dataset = source.dataset
        for clip in dataset.clips[: limit or None]:
            small_frames = [Frame(str(index), dataset.small(clip, index)) for index in range(len(clip.large))]
            estimates: dict[int, np.ndarray] = {}
            if network.frames_in is None:
                plan = enlarger.plan(small_frames[0].pixels.shape[:2])
                for chunk in chunks(small_frames, plan.chunk or len(small_frames), plan.overlap):
                    found_all = enlarger.clip([frame.pixels for frame in chunk.frames])[chunk.kept]
                    estimates |= dict(enumerate(found_all, chunk.index))
            else:
                for entry in windows(small_frames, network.frames_in, network.temporal_border):
                    if entry.index not in clip.scored:
                        continue
                    estimates[entry.index] = enlarger.windows([[frame.pixels for frame in entry.frames]])[0]
            yield [(small_frames[n].pixels, dataset.large(clip, n), estimates[n]) for n in clip.scored]


def _bytes(frames: torch.Tensor) -> Iterator[np.ndarray]:
    yield from to_8bit(frames).permute(0, 2, 3, 1).numpy()


def _psnr(first: np.ndarray, second: np.ndarray) -> float:
    pair = [torch.from_numpy(array.transpose(2, 0, 1).copy())[None].double() / 255 for array in (first, second)]
    return float(psnr_8bit(*pair).clamp(max=100))
