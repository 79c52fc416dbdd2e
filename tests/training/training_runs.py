"""Runs of the training loop in this process."""

from pathlib import Path

import torch

from flowzoo.distributed import Ranks
from flowzoo.training.loop import Trained, train
from flowzoo.training.recipe import Recipe
from flowzoo.training.stage_run import Surroundings
from flowzoo.training.task import Place
from flowzoo.training.tasks import task_class

CPU = torch.device("cpu")


def trained(
    recipe: Recipe, root: Path, output: Path, *, resume: bool = False, device: torch.device = CPU, **place: object
) -> Trained:
    """What a recipe's run on the data in `root` ends with."""
    task = task_class(recipe.task)(recipe, Place(root, **place))
    return train(recipe, task, Surroundings(output, Ranks(), device, resume, workers=0))
