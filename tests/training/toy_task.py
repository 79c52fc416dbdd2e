"""A task that is no optical flow, with a network of its own: tiny clips whose noise is to be removed.

As a script it is `flowzoo train` that knows this task, too, for runs on several ranks.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flowzoo import distributed, registry
from flowzoo.augmentation.batch import Tensors, stacked
from flowzoo.cli import main
from flowzoo.network import VideoNetwork, VideoPrediction
from flowzoo.training.stage import Stage
from flowzoo.training.task import Data, Loss, Score, Task
from flowzoo.training.tasks import TASKS, TaskCard
from flowzoo.zoo.card import Card

PRESET = """
task = "denoising"
model = "denoiser"
seed = 7
[network]
dropout = 0.3
[all]
noise = 0.2
batch = 4
learning_rate = 1e-3
average = 0.9
validate_every = 2
save_every = 1
log_every = 2
[[stage]]
name = "rough"
steps = 3
[[stage]]
name = "fine"
steps = 4
penalty = "l2"
accumulate = 2
"""


@dataclass(frozen=True)
class DenoiserSettings:
    width: int = 4
    dropout: float = 0.0
    norm: bool = True


class Denoiser(VideoNetwork):
    """Two convolutions of each frame."""

    def __init__(self, settings: DenoiserSettings) -> None:
        super().__init__()
        # A bias before a norm has no effect, and Adam would make steps of its rounding errors.
        self.first = nn.Conv2d(3, settings.width, 3, padding=1, bias=not settings.norm)
        self.last = nn.Conv2d(settings.width, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(settings.width) if settings.norm else nn.Identity()
        self.dropout = nn.Dropout(settings.dropout)

    def predict(self, frames: Tensor) -> VideoPrediction:
        hidden = torch.relu(self.norm(self.first(frames.flatten(0, 1))))
        return VideoPrediction(frames + self.last(self.dropout(hidden)).unflatten(0, frames.shape[:2]))


@dataclass(frozen=True)
class DenoisingSettings:
    """What a stage says beside the settings of all stages."""

    noise: float = 0.1
    penalty: str = "l1"


@dataclass
class Clips(Tensors):
    """(B,T,3,H,W) in 0..1."""

    noisy: Tensor
    clean: Tensor


@dataclass(frozen=True)
class NoisyClips:
    """Sample n: three frames of 8x8, a ramp in a random direction."""

    noise: float
    seed: int

    def __getitem__(self, number: int) -> Clips:
        random = np.random.default_rng((self.seed, number))
        slopes = random.uniform(-1, 1, (3, 3, 2)).astype(np.float32)
        rows, columns = np.mgrid[:8, :8].astype(np.float32) / 16
        clean = 0.5 + slopes[..., :1, None] * rows + slopes[..., 1:, None] * columns
        noisy = clean + random.normal(0, self.noise, clean.shape).astype(np.float32)
        return Clips(torch.from_numpy(noisy), torch.from_numpy(clean))


def psnr(frames: Tensor, clean: Tensor) -> Tensor:
    return -10 * (frames.float() - clean).square().mean(dim=(1, 2, 3, 4)).log10().mean()


class Denoising(Task):
    """The whole task."""

    quantities: ClassVar = ("psnr",)
    score: ClassVar = Score("psnr", "dB", higher_is_better=True)
    validates = True

    def data(self, stage: Stage, seed: int, device: torch.device) -> Data:
        return Data(NoisyClips(stage.task.noise, seed), partial(stacked, Clips))

    def predict(self, network: Denoiser, batch: Clips) -> VideoPrediction:
        return network(batch.noisy)

    def objective(self, stage: Stage) -> Callable[[VideoPrediction, Clips], Loss]:
        measure = {"l1": torch.abs, "l2": torch.square}[stage.task.penalty]

        def cost(prediction: VideoPrediction, batch: Clips) -> Loss:
            value = measure(prediction.frames.float() - batch.clean).mean()
            return Loss(value, {"psnr": psnr(prediction.frames.detach(), batch.clean)})

        return cost

    def validate(self, network: Denoiser) -> dict[str, float]:
        time.sleep(float(os.environ.get("TOY_SLOW", "0")))
        batch = stacked(Clips, [NoisyClips(0.1, 999)[number] for number in range(2)])
        with torch.no_grad():
            return {"val": float(psnr(network(batch.noisy).frames, batch.clean))}


def register() -> None:
    """What a line in `TASKS` and a card in the zoo do."""
    TASKS["denoising"] = TaskCard(DenoisingSettings(), f"{__name__}:Denoising")
    registry.cards()["denoiser"] = Card(
        "denoiser", "", f"{__name__}:Denoiser", DenoiserSettings(), 227, "", task="denoising"
    )


def known(patch: pytest.MonkeyPatch) -> None:
    """`register`, until the end of a test."""
    cards = dict(registry.cards())
    patch.setattr(registry, "cards", lambda: cards)
    patch.setitem(TASKS, "denoising", None)
    register()


def threads() -> list[str]:
    """The names of this process's threads, where the system tells them."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def toy_preset(folder: Path) -> str:
    """The file of `PRESET`, in `folder`."""
    path = folder / "toy.toml"
    path.write_text(PRESET)
    return str(path)


if __name__ == "__main__":
    if "TOY_TIMEOUT" in os.environ:
        distributed.TIMEOUT = timedelta(seconds=float(os.environ["TOY_TIMEOUT"]))
    register()
    status = main()
    left = [name for name in threads() if "gloo" in name]
    sys.exit(f"threads outlive the group: {left}" if left else status)
