"""One stage of a run. Read `StageRun.train` downwards; everything else is one call away."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowzoo.checkpoints import save_weights
from flowzoo.distributed import Ranks
from flowzoo.errors import InputError, counted
from flowzoo.network import ZooNetwork
from flowzoo.training import loader, optimise, state
from flowzoo.training.journal import Clock, Journal, duration
from flowzoo.training.recipe import Recipe
from flowzoo.training.recorded import RecordedGradient, records
from flowzoo.training.synchronised_norm import synchronise_norms
from flowzoo.training.tally import Tally
from flowzoo.training.task import Loss, Task

BEST = "best.safetensors"
log = logging.getLogger(__name__)


@dataclass
class Surroundings:
    """Where a run takes place.

    Attributes:
        output: folder for checkpoints, logs, pictures and weights.
        ranks: this process among those of the run.
        device: where it computes; of several GPUs, each rank takes its own.
        resume: go on from the newest checkpoint in `output`.
        weights: what the first stage starts from instead of random numbers (a state dict), or None.
        workers: processes that prepare batches; 0 prepares them in between, in this process.
        tensorboard: log there, too.
    """

    output: Path
    ranks: Ranks
    device: torch.device
    resume: bool = False
    weights: dict[str, Tensor] | None = None
    workers: int = 1
    tensorboard: bool = False


@dataclass(frozen=True)
class Ending:
    """The weights that a stage ends with, on the CPU, and what they are.

    Attributes:
        weights: a state dict.
        step: of the run, after which these were the network's.
        averaged: whether they are the mean over steps (`Stage.average`) or those of one step.
        score: the mean of their validation scores, where they are the best of those validated; None = the last ones.
    """

    weights: dict[str, Tensor]
    step: int
    averaged: bool
    score: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a file of these weights records."""
        chosen = {} if self.score is None else {"validation": self.score}
        return {"step": self.step, "averaged": self.averaged, **chosen}


class Step(nn.Module):
    """A batch becomes a loss: the network in the stage's precision, the objective in float32."""

    def __init__(self, network: ZooNetwork, task: Task, run: "StageRun") -> None:
        super().__init__()
        self.network, self.task, self.objective = network, task, task.objective(run.stage)
        precision = run.stage.precision
        self.kind, self.mixed = run.device.type, precision != "float32"
        self.precision: torch.dtype = getattr(torch, precision)

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """The network's constants: what it does not want ranks to exchange."""
        return [f"network.{name}" for name in self.network._ddp_params_and_buffers_to_ignore]

    def forward(self, batch: Any) -> Loss:
        """What the batch costs."""
        with torch.autocast(self.kind, self.precision, enabled=self.mixed):
            prediction = self.task.predict(self.network, batch)
        return self.objective(prediction, batch)


class StageRun:
    """Trains stage `number` of a recipe.

    Args:
        recipe, number, task, where: what is trained, and where.
        network: of this stage, with the weights that it starts with, on the device.
        journal: for rank 0.
        done: steps of the stages before.
        start: what the stage before ended with; checkpoints hold it, so that a resumed run builds the same network.
    """

    def __init__(
        self,
        recipe: Recipe,
        number: int,
        task: Task,
        where: Surroundings,
        network: ZooNetwork,
        journal: Journal | None,
        done: int,
        start: dict[str, Tensor] | None,
    ) -> None:
        self.recipe, self.number, self.task, self.where, self.journal = recipe, number, task, where, journal
        self.stage, self.ranks, self.device = recipe.stages[number], where.ranks, where.device
        self.network, self.done, self.start = network, done, start
        self.step, self.stale = 0, 0
        self.best: Ending | None = None
        self.optimizer = optimise.make_optimizer(network, self.stage)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.stage.precision == "float16")
        self.average = optimise.WeightAverage(network, self.stage.average) if self.stage.average else None
        self.tally = Tally(task.quantities, self.device)
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.clock = Clock()
        self.gradient: Callable[[Any], Loss] = self._gradient
        if records(self.stage, self.ranks, self.device):
            self.gradient = RecordedGradient(self._gradient, self.parameters)

    def train(self) -> Ending:
        """All steps that are not done yet; returns the best weights where the stage is validated, else the last."""
        stage, task = self.stage, self.task
        if stage.compile:
            self.network.compile()
        self.model = self.ranks.wrap(synchronise_norms(Step(self.network, task, self), self.ranks))
        data = task.data(stage, self.recipe.seed * 1000 + self.number, self.device)
        batches = loader.batches(data, self.step, stage, self.ranks, self.where.workers)
        self.network.train()
        self.clock.begin()
        while self.step < stage.steps and not self.stopped:
            rate = optimise.learning_rate(stage, self.step)
            optimise.set_learning_rate(self.optimizer, rate)
            for part in range(stage.accumulate):
                waiting = time.perf_counter()
                batch = next(batches).to(self.device)
                self.clock.waited += time.perf_counter() - waiting
                self.add_gradient(batch, part)
            self.update_weights()
            self.step += 1
            if self.is_due(stage.log_every):
                self.write_log(rate)
            if task.validates and self.is_due(stage.validate_every):
                self.validate()
            if self.is_due(stage.save_every) or self.stopped:
                self.save()
        if self.stopped:
            validations = counted(self.stale, "validation")
            log.info("%s stops at step %d: no better for %s", stage.name, self.step, validations)
        return self.best or self.last()

    def is_due(self, every: int) -> bool:
        """Whether something that happens `every` so many steps (0 = never) and at the end happens now."""
        return every > 0 and (self.step % every == 0 or self.step == self.stage.steps)

    @property
    def stopped(self) -> bool:
        """Whether validation has not become better for too long."""
        return 0 < self.stage.patience <= self.stale

    def add_gradient(self, batch: Any, part: int) -> None:
        """The gradient of one part of a step on top of the others'; the last part is where ranks exchange theirs."""
        # What a network draws at random follows from its place in the run, too.
        place = (self.recipe.seed, self.number, self.step, part, self.ranks.rank)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        with self._exchange(now=part == self.stage.accumulate - 1):
            loss = self.gradient(batch)
        self.tally.add(loss, 1 / self.stage.accumulate)

    def _gradient(self, batch: Any) -> Loss:
        """Adds the gradient of a part of a step, and says what it costs."""
        loss: Loss = self.model(batch)
        self.scaler.scale(loss.value / self.stage.accumulate).backward()
        return Loss(loss.value.detach(), loss.quantities)

    def update_weights(self) -> None:
        """One step of the optimiser, and of the average."""
        self.scaler.unscale_(self.optimizer)
        self.tally.add_step(optimise.clip_gradient(self.parameters, self.stage.clip))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.network, self.step)
        self.clock.samples, self.clock.steps = self.clock.samples + self.stage.batch, self.clock.steps + 1

    def write_log(self, rate: float) -> None:
        """One row and one line about the steps since the last one."""
        self._check_finite()
        means = self.tally.means(self.ranks)
        speed, waited, pace = self.clock.rates()
        if self.journal is not None:
            self.journal.write(
                stage=self.stage.name, step=self.done + self.step, **means, learning_rate=rate,
                samples_per_second=round(speed, 2), waiting=round(waited, 4),
            )  # fmt: skip
            left = sum(other.steps for other in self.recipe.stages[self.number + 1 :]) + self.stage.steps - self.step
            shown = "  ".join(f"{name} {means[name]:.3f}" for name in ("loss", *self.task.quantities))
            log.info(
                "%s %d/%d  %s  lr %.1e  %.1f samples/s  data %.0f %%  left %s",
                self.stage.name, self.step, self.stage.steps, shown, rate, speed, 100 * waited, duration(left * pace),
            )  # fmt: skip
        self.tally.clear()
        self.clock.begin()

    def validate(self) -> None:
        """Score the weights that would be saved now, and keep them if they are the best so far.

        Rank 0 does it; the others wait, since it may end the stage.
        """
        kept = {name: value.clone() for name, value in self.network.state_dict().items()}
        last = self.last()
        self.network.load_state_dict(last.weights)
        self.network.eval()
        try:
            scores = self.ranks.from_leader(self._scores)
            mean = sum(scores.values()) / max(1, len(scores))
            if self.task.score.better(mean, None if self.best is None else self.best.score):
                self.best, self.stale = Ending(last.weights, last.step, last.averaged, mean), 0
                self._write_best(self.best)
            else:
                self.stale += 1
        finally:
            self.network.load_state_dict(kept)
            self.network.train()
        if self.journal is not None:
            self._write_scores(scores, mean)
        self.clock.begin()

    def _write_best(self, best: Ending) -> None:
        """The network has these weights now."""
        if self.ranks.leads:
            save_weights(self.network, self.where.output / BEST, recipe=self.recipe.name, **best.facts)

    def _scores(self) -> dict[str, float]:
        scores = self.task.validate(self.network)
        list(self.task.pictures(self.network, self.where.output / "pictures", self.done + self.step))
        return scores

    def _write_scores(self, scores: dict[str, float], mean: float) -> None:
        assert self.journal is not None  # of the caller
        score, name = self.task.score, f"validation_{self.task.score.name}"
        row: dict[str, Any] = {name: mean, "validation": scores | {"mean": mean}}
        self.journal.write(stage=self.stage.name, step=self.done + self.step, **row)
        self.journal.draw()
        shown = "  ".join(f"{entry} {score.shown(value)}" for entry, value in scores.items())
        best = "" if self.best is None or self.best.score is None else f" (best {score.shown(self.best.score)})"
        log.info(
            "%s %d/%d  validation %s: %s%s", self.stage.name, self.step, self.stage.steps, score.name, shown, best
        )  # fmt: skip

    def last(self) -> Ending:
        """The weights as they are now, on the CPU; the averaged ones where the stage averages."""
        weights = self.network.state_dict() if self.average is None else self.average.state
        copies = {name: value.detach().cpu().clone() for name, value in weights.items()}
        return Ending(copies, self.done + self.step, self.average is not None)

    def save(self) -> None:
        """Write a checkpoint, unless there is no going on from it."""
        self._check_finite(self.network.state_dict())
        sums = self.tally.shared(self.ranks)  # a resumed run continues the interval of its log, too
        if not self.ranks.leads:
            return
        content = {
            "stage": self.number,
            "stage_step": self.step,
            "best": None if self.best is None else vars(self.best),
            "stale": self.stale,
            "start": self.start,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state,
            **sums,
        }
        state.save_state(self.where.output, self.recipe, self.done + self.step, content)

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint of this stage."""
        self.step, self.stale = saved["stage_step"], saved["stale"]
        best = saved["best"]
        if isinstance(best, dict):
            self.best = Ending(**best)
            self.network.load_state_dict(self.best.weights)
            self._write_best(self.best)
        else:  # in older checkpoints only the score was kept, and not what reached it
            self.stale = 0
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.state = {name: value.to(self.device) for name, value in saved["average"].items()}
        self.tally.restore(saved)

    def _check_finite(self, weights: dict[str, Tensor] | None = None) -> None:
        """Before anything is logged or saved: loss, gradients and `weights` must be finite.

        Raises:
            InputError: they are not; the last checkpoint is fine.
        """
        fine = self.tally.is_finite(skipping=self.scaler.is_enabled())
        for value in (weights or {}).values():
            fine = fine & value.isfinite().all()
        if not fine:
            raise InputError(
                f"the loss of stage {self.stage.name!r} is not finite at step {self.step}: lower learning_rate or set "
                "clip, then start again, or --resume from the last checkpoint if it was good until then"
            )

    def _exchange(self, *, now: bool) -> AbstractContextManager[None]:
        """While a step accumulates, ranks do not talk until its last part."""
        if not now and isinstance(self.model, nn.parallel.DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()
