"""Optical flow as a task: pairs with ground truth, losses of pyramids, end-point errors."""

import logging
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch

from flowzoo.augmentation import TrainingBatch, collate
from flowzoo.augmentation.planned import planned
from flowzoo.errors import InputError
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.training.flow.augmenting import DeviceAugmenter, PairPool, Plans
from flowzoo.training.flow.checking import check_headers, check_mixture
from flowzoo.training.flow.mixture import Mixture
from flowzoo.training.flow.objective import end_point_error, make_loss
from flowzoo.training.flow.rendering import DeviceRenderer, Drawings, renders_on_device
from flowzoo.training.flow.settings import FlowSettings
from flowzoo.training.flow.sources import DatasetSource, open_training_set
from flowzoo.training.flow.validation import Validation
from flowzoo.training.stage import Stage, settings_for
from flowzoo.training.task import Data, Loss, Score, Task

log = logging.getLogger(__name__)


class FlowTask(Task):
    """Learns the flow of image pairs; the settings of its stages are `FlowSettings`."""

    quantities: ClassVar = ("epe",)
    score: ClassVar = Score("epe", "px")

    def check(self) -> None:
        """The pairs of all stages, then the validation set: what is wrong with a list is said of the list."""
        checked = set()
        for stage in self.recipe.stages:
            pairs = settings_of(stage).pairs
            make_loss(settings_of(stage).loss)
            if stage.steps and pairs not in checked:
                checked.add(pairs)
                check_mixture(self._mixture(stage, 0))
        if self.validation is not None:
            for name in self.validation.datasets:
                check_headers(DatasetSource(open_training_set(name, self.validation.root)))

    def data(self, stage: Stage, seed: int, device: torch.device) -> Data:
        """Augmented pairs of the stage's mixture.

        Where the stage renders on the training device, other processes draw the scenes only; where it augments there,
        they draw what is to be done.
        """
        mixture, pairs = self._mixture(stage, seed), settings_of(stage).pairs
        if renders_on_device(mixture, pairs):
            return Data(Drawings(mixture), list, DeviceRenderer(mixture, device))
        if pairs.augmenting == "device":
            return Data(
                Plans(mixture), planned, DeviceAugmenter(device, PairPool(pairs.pool, seed) if pairs.pool else None)
            )
        return Data(mixture, collate)

    def predict(self, network: FlowNetwork, batch: TrainingBatch) -> FlowPrediction:
        """The flow of every pair."""
        prediction: FlowPrediction = network(batch.first, batch.second)
        return prediction

    def objective(self, stage: Stage) -> Callable[[FlowPrediction, TrainingBatch], Loss]:
        """The stage's loss, and the end-point error at full size, pixels."""
        loss = make_loss(settings_of(stage).loss)

        def cost(prediction: FlowPrediction, batch: TrainingBatch) -> Loss:
            value = loss(prediction, batch.flow, batch.valid, batch.labels, batch.reverse)
            return Loss(value, {"epe": end_point_error(prediction.flow, batch.flow, batch.valid)})

        return cost

    @property
    def validates(self) -> bool:
        """Whether a validation set is there."""
        return self.validation is not None

    def validate(self, network: FlowNetwork) -> dict[str, float]:  # type: ignore[override]
        """End-point error of each data set, pixels, by its official protocol."""
        return {} if self.validation is None else self.validation.scores(network)

    def pictures(self, network: FlowNetwork, folder: Path, step: int) -> Iterable[Path]:  # type: ignore[override]
        """First image, true and estimated flow of a few validation pairs."""
        return () if self.validation is None else self.validation.write_pictures(network, folder, step)

    def _mixture(self, stage: Stage, seed: int) -> Mixture:
        try:
            return Mixture(settings_of(stage).pairs, self.place.root, seed)
        except InputError as error:
            raise InputError(f"stage {stage.name!r}: {error}") from error

    @cached_property
    def validation(self) -> Validation | None:
        """What the user names, else what the recipe names and is there."""
        folder, limit = self.place.validation_root or self.place.root, self.place.validation_limit
        stages = self.recipe.stages
        if folder is None:
            return None
        if self.place.validate:
            return Validation(self.place.validate, folder, limit)
        if not self.recipe.validate or not any(stage.validate_every for stage in stages):
            return None
        try:
            return Validation(self.recipe.validate, folder, limit)
        except InputError as error:
            if any(stage.patience for stage in stages):
                raise InputError(f"early stopping needs a validation set ({error}), or --set patience=0") from error
            log.warning("training without validation: %s", error)
            return None


def settings_of(stage: Stage) -> FlowSettings:
    """The settings of this task."""
    return settings_for(stage, FlowSettings, "optical flow")
