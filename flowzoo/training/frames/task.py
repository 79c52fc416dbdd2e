"""Prediction of frames and frames in between as tasks: windows of clips, image losses, PSNR."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

import torch

from flowzoo.augmentation.batch import stacked
from flowzoo.errors import InputError
from flowzoo.files.images import write_image
from flowzoo.metrics.image import psnr
from flowzoo.models.video.svg import StochasticPredictor, TrainingPass
from flowzoo.network import PredictionNetwork, VideoNetwork, VideoPrediction
from flowzoo.training.frames.objective import make_frame_loss, summed
from flowzoo.training.frames.settings import FrameSettings
from flowzoo.training.frames.windows import FrameBatch, Windows
from flowzoo.training.stage import Stage, settings_for
from flowzoo.training.task import Data, Loss, Score, Task

VALIDATED = 16
"""Windows that a validation looks at where no limit is given."""
PICTURES = 2


class FramesTask(Task):
    """Learns to make frames from frames; the settings of its stages are `FrameSettings`."""

    quantities: ClassVar = ("psnr",)
    score: ClassVar = Score("psnr", "dB", higher_is_better=True)

    def check(self) -> None:
        """All clips that stages and validation name are there, and the losses can be made."""
        for stage in self.recipe.stages:
            settings = settings_of(stage)
            if self.recipe.task == "prediction" and settings.clips.inputs != tuple(range(len(settings.clips.inputs))):
                raise InputError(f"stage {stage.name!r}: inputs of prediction are the first places of a window")
            if stage.steps:
                Windows(settings.clips, self.place.root, 0)
                make_frame_loss(settings.loss, self.place.root, torch.device("cpu"))
        if self.validates:
            self._validation()

    def data(self, stage: Stage, seed: int, device: torch.device) -> Data:
        """Windows of the stage's clips."""
        return Data(Windows(settings_of(stage).clips, self.place.root, seed), _joined)

    def predict(self, network: VideoNetwork, batch: FrameBatch) -> VideoPrediction | TrainingPass:
        """The frames that should be the targets; stochastic networks also predict each context frame but the first."""
        if isinstance(network, StochasticPredictor) and network.training:
            frames = torch.cat([batch.inputs, batch.targets], dim=1)
            return network.training_pass(frames, batch.inputs.shape[1])
        if isinstance(network, PredictionNetwork):
            return network.extend(batch.inputs, batch.targets.shape[1])
        made: VideoPrediction = network(batch.inputs)
        return made

    def objective(self, stage: Stage) -> Callable[[VideoPrediction | TrainingPass, FrameBatch], Loss]:
        """Sum over frames of the stage's loss; PSNR of the targets, dB."""
        settings = settings_of(stage).loss
        losses = {}

        def cost(made: VideoPrediction | TrainingPass, batch: FrameBatch) -> Loss:
            device = batch.targets.device
            if device not in losses:
                losses[device] = make_frame_loss(settings, self.place.root, device)
            count = batch.targets.shape[1]
            targets = batch.targets
            if isinstance(made, TrainingPass):
                targets = torch.cat([batch.inputs[:, 1:], targets], dim=1)
            value = summed(losses[device], made.frames.float(), targets)
            if isinstance(made, TrainingPass):
                value = value + settings.divergence * made.divergence
            last = made.frames[:, -count:].detach().float().clamp(0, 1)
            return Loss(value, {"psnr": psnr(last.flatten(0, 1), batch.targets.flatten(0, 1)).mean()})

        return cost

    @property
    def validates(self) -> bool:
        """Whether a stage validates."""
        return bool(self.place.validate or self.recipe.validate) and any(s.validate_every for s in self.recipe.stages)

    def validate(self, network: VideoNetwork) -> dict[str, float]:  # type: ignore[override]
        """Mean PSNR of each data set's windows, dB."""
        scores = {}
        for name, windows in self._validation().items():
            found = []
            for number in range(self.place.validation_limit or VALIDATED):
                batch = stacked(FrameBatch, [windows[number]]).to(network.device)
                with torch.inference_mode():
                    made = self.predict(network, batch).frames.float().clamp(0, 1)
                found.append(psnr(made.flatten(0, 1), batch.targets.flatten(0, 1)).mean().item())
            scores[name] = sum(found) / len(found)
        return scores

    def pictures(self, network: VideoNetwork, folder: Path, step: int) -> Iterable[Path]:  # type: ignore[override]
        """Last input, true and made frames of a few windows, side by side."""
        written = []
        for name, windows in self._validation().items():
            for number in range(PICTURES):
                batch = stacked(FrameBatch, [windows[number]]).to(network.device)
                with torch.inference_mode():
                    made = self.predict(network, batch).frames.float().clamp(0, 1)
                row = [batch.inputs[0, -1], *batch.targets[0], *made[0]]
                path = folder / f"{name.replace('/', '_')}_{number}_{step:07d}.png"
                picture = (torch.cat(row, dim=2) * 255).round().byte().permute(1, 2, 0)
                write_image(path, picture.cpu().numpy())
                written.append(path)
        return written

    def _validation(self) -> dict[str, Windows]:
        """Windows to validate on, by data set; the same every time."""
        clips = settings_of(self.recipe.stages[-1]).clips
        root = self.place.validation_root or self.place.root
        fixed = {"flips": (), "jitter": 0.0, "place": "centre"}
        return {
            name: Windows(dataclasses.replace(clips, data=(name,), **fixed), root, 1)  # type: ignore[arg-type]
            for name in self.place.validate or self.recipe.validate
        }


def _joined(samples: list[FrameBatch]) -> FrameBatch:
    return stacked(FrameBatch, samples)


def settings_of(stage: Stage) -> FrameSettings:
    """The settings of this task."""
    return settings_for(stage, FrameSettings, "frames")
