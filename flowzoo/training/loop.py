"""The training loop. Read it downwards: stages here, and the steps of a stage in `stage_run.py`."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowzoo import registry
from flowzoo.checkpoints import save_weights
from flowzoo.errors import InputError
from flowzoo.files.claim import claimed
from flowzoo.network import ZooNetwork
from flowzoo.training import state
from flowzoo.training.inherit import inherit
from flowzoo.training.journal import Journal
from flowzoo.training.recipe import Recipe
from flowzoo.training.stage_run import Ending, StageRun, Surroundings
from flowzoo.training.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What a run ends with: the network in eval mode with the weights of `ending`, and the file that has them."""

    network: ZooNetwork
    ending: Ending
    file: Path


def train(recipe: Recipe, task: Task, where: Surroundings) -> Trained:
    """Run all stages that are not done yet.

    The network, and MODEL.safetensors in the output folder, have the best weights of the last stage where that is
    validated, else the last ones; averaged where the stage averages.

    Raises:
        InputError: data, settings, a checkpoint or the disk do not allow it; one line says why.
    """
    ranks = where.ranks
    with ExitStack() as held:
        with ranks.agreement():
            check(recipe, task, where)
            if ranks.leads:
                held.enter_context(claimed(where.output, "training run"))
        with ranks.agreement():
            saved = begin(recipe, where)
        columns = ("stage", "step", "loss", *task.quantities, "learning_rate", "gradient_norm", "samples_per_second",
                   "waiting", f"validation_{task.score.name}")  # fmt: skip
        journal = None
        if ranks.leads:
            journal = Journal(where.output, columns, saved["step"] if saved else 0, where.tensorboard)
        first = saved["stage"] if saved else 0
        start: dict[str, Tensor] | None = saved["start"] if saved else where.weights
        done = sum(stage.steps for stage in recipe.stages[:first])
        for number in range(first, len(recipe.stages)):
            network = build(recipe, number, start, where.device, task)
            run = StageRun(recipe, number, task, where, network, journal, done, start)
            if saved is not None and number == first:
                run.restore(saved)
            ending = run.train()
            start, done = ending.weights, done + recipe.stages[number].steps
        network.load_state_dict(ending.weights)
        file = where.output / f"{recipe.model}.safetensors"
        if journal is not None:
            journal.close()
            save_weights(network, file, recipe=recipe.name, steps=done, **ending.facts)
        return Trained(network.eval(), ending, file)


def check(recipe: Recipe, task: Task, where: Surroundings) -> None:
    """Refuse what can be seen to be wrong before the first step.

    Raises:
        InputError: one line says what.
    """
    card = registry.card(recipe.model)
    if card.task != recipe.task:
        raise InputError(
            f"{recipe.model} is a network for {card.task}, the preset {recipe.name} trains {recipe.task}: "
            "choose another --model or preset"
        )
    for stage in recipe.stages:
        where.ranks.share_of(stage.batch, stage.accumulate)
    if where.ranks.leads:
        task.check()


def begin(recipe: Recipe, where: Surroundings) -> dict[str, Any] | None:
    """The state to go on from, or None for a new run.

    Raises:
        InputError: there are checkpoints and nobody asked to resume, or they are another recipe's.
    """
    if not where.resume:
        if state.checkpoints(where.output):
            raise InputError(
                f"{where.output} already has checkpoints: add --resume to go on, or give another folder (-o)"
            )
        return None
    saved = state.load_state(where.output, recipe, lambda found: check_state(found, recipe))
    if saved is not None:
        stage = recipe.stages[saved["stage"]]
        log.info("going on after step %d of %d of stage %r", saved["stage_step"], stage.steps, stage.name)
    return saved


def check_state(found: dict[str, Any], recipe: Recipe) -> None:
    """A stored state must be one that a stage can go on from.

    Raises:
        InputError: something is missing, or of the wrong type.
    """
    kinds: dict[str, tuple[type, ...]] = {
        "stage": (int,), "stage_step": (int,), "stale": (int,), "counted": (int,), "sums": (Tensor,),
        "network": (dict,), "optimizer": (dict,), "scaler": (dict,), "average": (dict, type(None)),
        "start": (dict, type(None)), "best": (dict, float, type(None)),
    }  # fmt: skip
    for key, kind in kinds.items():
        if key not in found or not isinstance(found[key], kind):
            raise InputError(f"it has no valid {key!r}")
    if not 0 <= found["stage"] < len(recipe.stages):
        raise InputError("it is of a stage that the recipe does not have")


def build(
    recipe: Recipe, number: int, weights: dict[str, Tensor] | None, device: torch.device, task: Task
) -> ZooNetwork:
    """The network of stage `number`: random from the seed, what the task fills, then whatever `weights` has for it."""
    torch.manual_seed(recipe.seed + number)
    settings = dict(entry.partition("=")[::2] for entry in recipe.stages[number].network)
    network: ZooNetwork = registry.build(recipe.model, **settings)
    task.prepare(network, recipe.stages[number])
    if weights is not None:
        inherit(network, weights)
    flat = all(parameter.dim() < 5 for parameter in network.parameters())  # 3-D convolutions have another layout
    if flat and (network.channels_last or device.type == "cpu"):  # whose training kernels want it
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device)
