"""Training super-resolution, as a task of the loop."""

import logging
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from flowzoo import registry
from flowzoo.augmentation.batch import stacked
from flowzoo.creation import create_flow_network
from flowzoo.errors import InputError
from flowzoo.files.images import write_image
from flowzoo.models.video.kestrel import Kestrel
from flowzoo.network import FlowNetwork, VideoNetwork, VideoPrediction, ZooNetwork
from flowzoo.training.stage import Stage, settings_for
from flowzoo.training.super_resolution.objective import make_cost
from flowzoo.training.super_resolution.settings import SuperResolutionSettings
from flowzoo.training.super_resolution.sources import ClipMixture, FramesBatch, Wish
from flowzoo.training.super_resolution.validation import Validation
from flowzoo.training.task import Data, Loss, Score, Task

log = logging.getLogger(__name__)
INSIDE = ("flow", "spynet")
"""Names under which networks hold a flow network of the zoo."""


class SuperResolutionTask(Task):
    """Learns to enlarge frames; the settings of its stages are `SuperResolutionSettings`."""

    quantities: ClassVar = ("psnr", "fidelity")
    score: ClassVar = Score("psnr", "dB", higher_is_better=True)

    def check(self) -> None:
        """The clips of all stages, then the validation set."""
        for stage in self.recipe.stages:
            if stage.steps:
                self._mixture(stage, 0)[0]
            make_cost(settings_of(stage).loss, None)
        _ = self.validation

    def prepare(self, network: Any, stage: Stage) -> None:
        """Give the flow network inside its weights: those of the settings, else its default ones where it is frozen."""
        wanted = settings_of(stage).clips.flow_weights
        for name in INSIDE:
            part = getattr(network, name, None)
            if not isinstance(part, FlowNetwork):
                continue
            frozen = not any(parameter.requires_grad for parameter in part.parameters())
            weights = wanted or (registry.card(part.model_name).default_weights if frozen else "")
            if not weights and frozen:
                raise InputError(f"{part.model_name} has no weights of its own: say --set flow_weights=TAG|FILE")
            if weights:
                part.load_state_dict(create_flow_network(part.model_name, weights).state_dict())

    def data(self, stage: Stage, seed: int, device: torch.device) -> Data:
        """Cut and turned clips of the stage's mixture."""
        return Data(self._mixture(stage, seed), partial(stacked, FramesBatch))

    def predict(self, network: VideoNetwork, batch: FramesBatch) -> VideoPrediction:
        """The enlarged frames of every clip."""
        if isinstance(network, Kestrel) and batch.flows is not None:
            return network.with_flows(batch.small, batch.flows)
        prediction: VideoPrediction = network(batch.small)
        return prediction

    def objective(self, stage: Stage) -> Callable[[VideoPrediction, FramesBatch], Loss]:
        """The stage's loss, the PSNR, and the offset-fidelity loss by itself."""
        settings = settings_of(stage).loss
        flow: FlowNetwork | None = None
        if settings.fidelity_weight:
            name = settings.fidelity_flow
            weights = registry.card(name).default_weights
            if not weights:
                raise InputError(f"fidelity_flow={name} has no weights of its own: choose a network that has, as wren")
            flow = create_flow_network(name, weights).requires_grad_(False)
        cost, moved = make_cost(settings, flow), [False]

        def on_device(prediction: VideoPrediction, batch: FramesBatch) -> Loss:
            if flow is not None and not moved[0]:
                flow.to(batch.small.device)
                moved[0] = True
            return cost(prediction, batch)

        return on_device

    @property
    def validates(self) -> bool:
        """Whether a validation set is there."""
        return self.validation is not None

    def validate(self, network: VideoNetwork) -> dict[str, float]:  # type: ignore[override]
        """PSNR of 8-bit RGB frames, dB, by data set."""
        return {} if self.validation is None else self.validation.scores(network)

    def pictures(self, network: ZooNetwork, folder: Path, step: int) -> Iterable[Path]:
        """Bicubic, estimate and truth of the first validation frame of each set, side by side."""
        if self.validation is None or not isinstance(network, VideoNetwork):
            return
        for name, (small, large, found) in self.validation.examples(network).items():
            path = folder / f"{step:08d}-{name.replace('/', '-')}.png"
            write_image(path, np.concatenate([small, found, large], axis=1))
            yield path

    def _wish(self, stage: Stage) -> Wish:
        settings = dict(entry.partition("=")[::2] for entry in stage.network)
        with torch.device("meta"):
            network = registry.build(self.recipe.model, **settings)
        assert isinstance(network, VideoNetwork), "the loop has compared the tasks"
        frames = network.frames_in or settings_of(stage).clips.frames
        return Wish(frames, network.frames_in is None, network.enlarged_input)

    def _mixture(self, stage: Stage, seed: int) -> ClipMixture:
        try:
            return ClipMixture(settings_of(stage).clips, self.place.root, self._wish(stage), seed)
        except InputError as error:
            raise InputError(f"stage {stage.name!r}: {error}") from error

    @cached_property
    def validation(self) -> Validation | None:
        """What the user names, else what the recipe names and is there."""
        folder, limit = self.place.validation_root or self.place.root, self.place.validation_limit
        names = self.place.validate or self.recipe.validate
        if folder is None or not names:
            return None
        if not self.place.validate and not any(stage.validate_every for stage in self.recipe.stages):
            return None
        try:
            return Validation(names, folder, limit)
        except InputError as error:
            if self.place.validate:
                raise
            if any(stage.patience for stage in self.recipe.stages):
                raise InputError(f"early stopping needs a validation set ({error}), or --set patience=0") from error
            log.warning("training without validation: %s", error)
            return None


def settings_of(stage: Stage) -> SuperResolutionSettings:
    """The settings of this task."""
    return settings_for(stage, SuperResolutionSettings, "super-resolution")
