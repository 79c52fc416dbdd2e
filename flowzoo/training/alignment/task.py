"""The alignment experiment as a task of the loop: does a network find the motion, and with how many offsets?

After sections 4.1, 4.2 and 4.3 of "Understanding Deformable Alignment in Video Super-Resolution".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from flowzoo.augmentation.batch import Tensors, stacked
from flowzoo.errors import InputError
from flowzoo.losses.offset_fidelity import offset_fidelity_loss
from flowzoo.metrics.offsets import OffsetMeasures, offset_measures
from flowzoo.network import VideoNetwork, VideoPrediction
from flowzoo.synthetic.moved_pairs import moved_pair
from flowzoo.synthetic.textures import Textures
from flowzoo.training.alignment.settings import AlignmentSettings
from flowzoo.training.stage import Stage, settings_for
from flowzoo.training.task import Data, Loss, Score, Task

BORDER = 3
"""Pixels at the border that scores leave out."""
EPSILON = 1e-3
TRAINING, TESTING, OF = 0, 2, 8
"""Of every eight photographs the first and the fifth train, the third tests."""


@dataclass
class PairBatch(Tensors):
    """frames (B,2,3,H,W), reference and neighbour, 0..1; flow (B,2,H,W) between them, pixels, x then y."""

    frames: Tensor
    flow: Tensor


class Pool:
    """Pairs by number: a pool in an order that changes with every round. They are kept once they are made."""

    def __init__(self, textures: Textures, settings: AlignmentSettings, seed: int) -> None:
        self.textures, self.settings, self.seed = textures, settings, seed
        self.pictures = range(TRAINING, len(textures.photographs), OF // 2)
        self._made: dict[int, PairBatch] = {}

    def __getitem__(self, number: int) -> PairBatch:
        tour, place = divmod(number, self.settings.pool)
        index = int(np.random.default_rng((self.seed, tour)).permutation(self.settings.pool)[place])
        if index not in self._made:
            self._made[index] = make_pair(self.textures, self.pictures, self.seed, index, self.settings)
        return self._made[index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}


def make_pair(textures: Textures, pictures: range, seed: int, index: int, settings: AlignmentSettings) -> PairBatch:
    """One pair as a sample."""
    pair = moved_pair(textures, pictures, seed, index, settings.size, settings.motion)
    return PairBatch(torch.stack((pair.reference, pair.neighbour)), pair.flow)


class AlignmentTask(Task):
    """Rebuilds frames from their neighbours; the settings of its stages are `AlignmentSettings`."""

    quantities: ClassVar = ("psnr", "offset", "fidelity")
    score: ClassVar = Score("psnr", "dB", higher_is_better=True)

    def check(self) -> None:
        """Photographs are there."""
        _ = self.textures

    @cached_property
    def textures(self) -> Textures:
        """The photographs of --root."""
        if self.place.root is None:
            raise InputError("give --root with a folder of photographs")
        textures = Textures(self.place.root, procedural=0)
        if len(textures.photographs) <= TESTING:
            raise InputError(f"{self.place.root} has too few photographs: at least {TESTING + 1}, to train and to test")
        return textures

    def data(self, stage: Stage, seed: int, device: torch.device) -> Data:
        """Pairs of a pool that follows from the run's seed."""
        return Data(Pool(self.textures, settings_of(stage), seed), partial(stacked, PairBatch))

    def predict(self, network: VideoNetwork, batch: PairBatch) -> VideoPrediction:
        """The reference, rebuilt."""
        prediction: VideoPrediction = network(batch.frames)
        return prediction

    def objective(self, stage: Stage) -> Callable[[VideoPrediction, PairBatch], Loss]:
        """Charbonnier, plus the offset-fidelity loss against the true flow where its weight is not 0."""
        settings = settings_of(stage)

        def cost(prediction: VideoPrediction, batch: PairBatch) -> Loss:
            difference = prediction.frames[:, 0] - batch.frames[:, 0]
            value = (difference.square() + EPSILON**2).sqrt().mean()
            offset = prediction.details["offsets"]
            part = offset_fidelity_loss(offset, batch.flow, threshold=settings.fidelity_threshold) / len(batch.flow)
            if settings.fidelity_weight:
                value = value + settings.fidelity_weight * part
            return Loss(value, {"psnr": psnr(difference), "offset": offset.detach().abs().mean(), "fidelity": part})

        return cost

    @property
    def validates(self) -> bool:
        """The test pairs are always there."""
        return any(stage.validate_every for stage in self.recipe.stages)

    def validate(self, network: VideoNetwork) -> dict[str, float]:  # type: ignore[override]
        """PSNR of the test pairs, dB."""
        return {"test": self.measure(network)[0]}

    @torch.inference_mode()
    def measure(self, network: VideoNetwork) -> tuple[float, OffsetMeasures, PairBatch, VideoPrediction]:
        """PSNR (border cut) and offset measures on the test pairs, the pairs and what the network made of them."""
        batch = self.test_pairs
        prediction: VideoPrediction = network.eval()(batch.frames.to(network.device))
        frames, offsets = prediction.frames.cpu(), prediction.details["offsets"].cpu()
        inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
        found = offset_measures(offsets[inner], batch.flow[inner])
        value = float(psnr((frames[:, 0] - batch.frames[:, 0])[inner]))
        return value, found, batch, VideoPrediction(frames, {"offsets": offsets})

    @cached_property
    def test_pairs(self) -> PairBatch:
        """The same for all seeds and all numbers of offsets."""
        settings, textures = settings_of(self.recipe.stages[-1]), self.textures
        pictures = range(TESTING, len(textures.photographs), OF)
        pairs = [make_pair(textures, pictures, 2**31 - 1, index, settings) for index in range(settings.test_pairs)]
        return stacked(PairBatch, pairs)


@torch.no_grad()
def psnr(difference: Tensor) -> Tensor:
    """Mean over samples, dB, of values in 0..1."""
    return (-10 * torch.log10(difference.square().flatten(1).mean(dim=1) + 1e-10)).mean()


def settings_of(stage: Stage) -> AlignmentSettings:
    """The settings of this task."""
    return settings_for(stage, AlignmentSettings, "alignment")
