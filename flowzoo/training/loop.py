"""The training loop. Read it downwards: stages, and in a stage steps; everything else is one call away."""

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowzoo import registry
from flowzoo.distributed import Ranks
from flowzoo.errors import InputError
from flowzoo.network import FlowNetwork
from flowzoo.training import loader, objective, optimise, state
from flowzoo.training.inherit import inherit
from flowzoo.training.journal import Clock, Journal, duration
from flowzoo.training.mixture import Mixture
from flowzoo.training.recipe import Recipe
from flowzoo.training.validation import Validation

log = logging.getLogger(__name__)


@dataclass
class Surroundings:
    """Where a run takes place.

    Attributes:
        root: folder of the data sets.
        output: folder for checkpoints, logs, pictures and weights.
        ranks: this process among those of the run.
        resume: go on from the newest checkpoint in `output`.
        weights: what the first stage starts from instead of random numbers (a state dict), or None.
        workers: processes that prepare batches; 0 prepares them in between, in this process.
        tensorboard: log there, too.
        validation: scores a network every `validate_every` steps and draws sample pictures, or None.
    """

    root: Path | None
    output: Path
    ranks: Ranks
    resume: bool = False
    weights: dict[str, Tensor] | None = None
    workers: int = 1
    tensorboard: bool = False
    validation: Validation | None = None


def train(recipe: Recipe, where: Surroundings) -> FlowNetwork:
    """Run all stages that are not done yet; returns the network of the last one, with its averaged weights.

    Raises:
        InputError: data, settings, a checkpoint or the disk do not allow it; one line says why.
    """
    ranks = where.ranks
    where.output.mkdir(parents=True, exist_ok=True)
    saved = state.load_state(where.output, recipe) if where.resume else None
    if saved is None and state.checkpoints(where.output):
        raise InputError(f"{where.output} already has checkpoints: add --resume to go on, or give another folder (-o)")
    ranks.wait()  # every rank has looked before rank 0 writes
    journal = Journal(where.output, saved["step"] if saved else 0, where.tensorboard) if ranks.leads else None
    start = saved["stage"] if saved else 0
    weights = saved["start"] if saved else where.weights
    total = sum(stage.steps for stage in recipe.stages[:start])
    network = None
    for number in range(start, len(recipe.stages)):
        network = build(recipe, number, weights, ranks)
        weights = run_stage(recipe, number, network, total, saved if number == start else None, where, journal, weights)
        total += recipe.stages[number].steps
    if journal is not None:
        journal.close()
    assert network is not None  # a recipe has at least one stage
    network.load_state_dict(weights or {})
    return network.eval()


def build(recipe: Recipe, number: int, weights: dict[str, Tensor] | None, ranks: Ranks) -> FlowNetwork:
    """The network of stage `number`: random from the seed, then whatever `weights` has for it."""
    torch.manual_seed(recipe.seed + number)
    settings = dict(entry.partition("=")[::2] for entry in recipe.stages[number].network)
    network = registry.build(recipe.model, **settings)
    if weights is not None:
        inherit(network, weights)
    if network.channels_last or ranks.device.type == "cpu":  # whose training kernels want it
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(ranks.device)


def run_stage(
    recipe: Recipe,
    number: int,
    network: FlowNetwork,
    done: int,
    saved: dict[str, Any] | None,
    where: Surroundings,
    journal: Journal | None,
    start: dict[str, Tensor] | None,
) -> dict[str, Tensor]:
    """Train one stage; returns the weights it ends with (the averaged ones, where the stage averages).

    `done` is the number of steps of the stages before, `start` what they ended with: checkpoints hold it, so that a
    resumed run builds the very same network.
    """
    stage, ranks = recipe.stages[number], where.ranks
    optimizer = optimise.make_optimizer(network, stage)
    scaler = torch.amp.GradScaler(ranks.device.type, enabled=stage.precision == "float16")
    average = optimise.WeightAverage(network, stage.average) if stage.average else None
    loss_of = objective.make_loss(stage)
    first, best, stale = 0, float("inf"), 0
    sums, counted = torch.zeros(3, device=ranks.device), 0  # of loss, error and gradient norm, since the last row
    if saved is not None:
        first, best, stale = saved["stage_step"], saved["best"], saved["stale"]
        sums, counted = saved["sums"].to(ranks.device), saved["counted"]
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        scaler.load_state_dict(saved["scaler"])
        if average is not None:
            average.state = {name: value.to(ranks.device) for name, value in saved["average"].items()}
        state.set_random_state(saved["random"], ranks.device)
    model: nn.Module = ranks.wrap(network)
    if stage.compile:
        model = cast(nn.Module, torch.compile(model))
    mixture = Mixture(stage, where.root, seed=recipe.seed * 1000 + number)
    batches = loader.batches(mixture, first, stage, ranks, where.workers)

    def save(step: int) -> None:
        ranks.mean(sums)  # a resumed run continues the interval of its log, too
        if ranks.leads:
            state.save_state(
                where.output,
                recipe,
                done + step,
                {
                    "stage": number,
                    "stage_step": step,
                    "best": best,
                    "stale": stale,
                    "start": start,
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scaler": scaler.state_dict(),
                    "average": average.state if average else None,
                    "random": state.random_state(ranks.device),
                    "sums": sums,
                    "counted": counted,
                },
            )

    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    clock = Clock()
    network.train()
    for step in range(first, stage.steps):
        rate = optimise.learning_rate(stage, step)
        optimise.set_learning_rate(optimizer, rate)
        for part in range(stage.accumulate):
            waiting = time.perf_counter()
            batch = next(batches).to(ranks.device)
            clock.waited += time.perf_counter() - waiting
            last = part == stage.accumulate - 1
            with _local_gradients(model, local=not last):
                with torch.autocast(
                    ranks.device.type, getattr(torch, stage.precision), enabled=stage.precision != "float32"
                ):
                    prediction = model(batch.first, batch.second)
                loss = loss_of(prediction, batch.flow, batch.valid, batch.labels, batch.reverse)
                scaler.scale(loss / stage.accumulate).backward()
            sums[0] += loss.detach() / stage.accumulate
            sums[1] += objective.end_point_error(prediction.flow, batch.flow, batch.valid) / stage.accumulate
        scaler.unscale_(optimizer)
        norm = optimise.clip_gradient(parameters, stage.clip)
        sums[2] += norm
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if average is not None:
            average.update(network, step)
        clock.samples, clock.steps, counted = clock.samples + stage.batch, clock.steps + 1, counted + 1

        now, ends = step + 1, step + 1 == stage.steps
        if now % stage.log_every == 0 or ends:
            loss_mean, epe, norm_mean = (ranks.mean(sums) / counted).tolist()
            if not loss_mean < float("inf"):
                raise InputError(
                    f"the loss of stage {stage.name!r} is not finite at step {now}: lower learning_rate or set clip, "
                    "then --resume from the last checkpoint"
                )
            if journal is not None:
                speed, waited, pace = clock.rates()
                journal.write(
                    stage=stage.name, step=done + now, loss=loss_mean, epe=epe, learning_rate=rate,
                    gradient_norm=norm_mean, samples_per_second=round(speed, 2), waiting=round(waited, 4),
                )  # fmt: skip
                left = sum(other.steps for other in recipe.stages[number + 1 :]) + stage.steps - now
                log.info(
                    "%s %d/%d  loss %.3f  epe %.2f px  lr %.1e  %.1f samples/s  data %.0f %%  left %s",
                    stage.name, now, stage.steps, loss_mean, epe, rate, speed, 100 * waited, duration(left * pace),
                )  # fmt: skip
            sums, counted = torch.zeros_like(sums), 0
            clock.begin()
        if stage.validate_every and where.validation is not None and (now % stage.validate_every == 0 or ends):
            scores = _validated(network, average, where, done + now)
            best, stale = (scores["mean"], 0) if scores["mean"] < best else (best, stale + 1)
            if journal is not None:
                journal.write(stage=stage.name, step=done + now, validation_epe=scores["mean"], validation=scores)
                shown = "  ".join(f"{name} {score:.3f}" for name, score in scores.items())
                log.info("%s %d/%d  validation epe %s px (best %.3f)", stage.name, now, stage.steps, shown, best)
            clock.begin()
        if now % stage.save_every == 0 or ends:
            save(now)
        if stage.patience and stale >= stage.patience:
            log.info("%s stops at step %d: no better for %d validations", stage.name, now, stale)
            break
    final = average.state if average is not None else network.state_dict()
    return {name: value.detach().cpu().clone() for name, value in final.items()}


def _validated(
    network: FlowNetwork, average: optimise.WeightAverage | None, where: Surroundings, step: int
) -> dict[str, float]:
    """End-point errors with the weights that would be saved now, and pictures; the training goes on untouched.

    Rank 0 does it; the others wait for its mean, since it may end the stage.
    """
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    if average is not None:
        network.load_state_dict(average.state)
    network.eval()
    scores: dict[str, float] = {}
    try:
        if where.ranks.leads and where.validation is not None:
            scores = where.validation.scores(network)
            where.validation.write_pictures(network, where.output / "pictures", step)
    finally:
        network.load_state_dict(kept)
        network.train()
    mean = torch.tensor(sum(scores.values()) / max(1, len(scores)), device=where.ranks.device, dtype=torch.float64)
    return scores | {"mean": float(where.ranks.mean(mean)) * where.ranks.count}


def _local_gradients(model: nn.Module, *, local: bool) -> AbstractContextManager[None]:
    """While a step accumulates, ranks do not talk until its last part."""
    if local and isinstance(model, nn.parallel.DistributedDataParallel):
        return model.no_sync()
    return nullcontext()
