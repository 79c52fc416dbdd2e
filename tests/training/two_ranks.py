"""Three steps of many networks and presets on two ranks, compared with one process; run under torchrun.

    torchrun --nproc-per-node 2 two_ranks.py FOLDER RESULT.json NAME...

FOLDER holds what `rank_recipes.make_data` wrote; the names are those of `rank_recipes`. RESULT.json has for each name
the `differences`, or a text with what went wrong.
"""

import json
import math
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

import torch
from rank_recipes import recipe_of, root_of
from torch import Tensor, nn

from flowzoo.augmentation import TrainingBatch
from flowzoo.distributed import Ranks, start
from flowzoo.models.video import svg
from flowzoo.models.video.svg import TrainingPass
from flowzoo.network import FlowNetwork, FlowPrediction, VideoNetwork, VideoPrediction
from flowzoo.training import loop, optimise, state
from flowzoo.training.flow.task import FlowTask
from flowzoo.training.frames.task import FramesTask
from flowzoo.training.frames.windows import FrameBatch
from flowzoo.training.recipe import Recipe
from flowzoo.training.stage import Stage
from flowzoo.training.stage_run import Surroundings
from flowzoo.training.task import Place
from flowzoo.training.tasks import task_class

CPU, BUILD = torch.device("cpu"), loop.build
MAKE_OPTIMIZER, CLIP = optimise.make_optimizer, optimise.clip_gradient
LEAST = 1e-3
"""Share of the whole gradient's norm below which a parameter's rounding is that of the others."""


class Precise(FlowTask):
    """In float64: what has few values or kinks magnifies rounding.

    HD3's batch norm of two values and choice of windows, GOCor's steps, and LiteFlowNet's regularisation of small maps.
    """

    def predict(self, network: FlowNetwork, batch: TrainingBatch) -> FlowPrediction:
        return network(batch.first.double(), batch.second.double())


class PreciseFrames(FramesTask):
    """Likewise: batch norm of few values in front of flow that finds correspondences."""

    def predict(self, network: VideoNetwork, batch: FrameBatch) -> VideoPrediction | TrainingPass:
        return super().predict(network, FrameBatch(batch.inputs.double(), batch.targets.double()))


PRECISE = {"flow": Precise, "prediction": PreciseFrames}


class Gradients:
    """The gradient of a run's first step, by parameter; before it is clipped, and averaged over ranks."""

    def __init__(self) -> None:
        self.first: dict[str, Tensor] = {}

    def make_optimizer(self, network: nn.Module, stage: Stage) -> torch.optim.Optimizer:
        self.network = network
        return MAKE_OPTIMIZER(network, stage)

    def clip(self, parameters: Iterable[Tensor], largest: float) -> Tensor:
        if not self.first:
            named = self.network.named_parameters()
            self.first = {name: value.grad.clone() for name, value in named if value.grad is not None}
        return CLIP(parameters, largest)


def trained(
    recipe: Recipe, folder: Path, output: Path, ranks: Ranks
) -> tuple[list[dict], dict[str, Tensor], dict[str, Tensor]]:
    """What a run logs, its weights, and its first gradient."""
    kinked = recipe.model.endswith("-gocor") or recipe.model.startswith("liteflownet")
    precise = recipe.task == "prediction" or (recipe.task == "flow" and kinked)
    precise = precise or (recipe.task == "flow" and recipe.stages[0].task.loss.loss == "density")
    loop.build = (lambda *place: BUILD(*place).double()) if precise else BUILD
    kind = PRECISE[recipe.task] if precise else task_class(recipe.task)
    task = kind(recipe, Place(root_of(recipe, folder)))
    gradients = Gradients()
    optimise.make_optimizer, optimise.clip_gradient = gradients.make_optimizer, gradients.clip
    found = loop.train(recipe, task, Surroundings(output, ranks, CPU, workers=0)).network.state_dict()
    text = (output / "log.jsonl").read_text() if ranks.leads else ""
    return [json.loads(line) for line in text.splitlines()], found, gradients.first


def differences(name: str, folder: Path, output: Path, ranks: Ranks) -> dict[str, float]:
    """How far two ranks are from one process.

    Losses, norms, buffers and the first gradient relative to their size; of the gradient the parameter that is worst,
    and the smallest ones relative to the whole. What is trained is relative to its change, every number weighted by its
    first gradient: Adam makes full steps in directions of rounding where there is no gradient.
    """
    recipe = recipe_of(name)
    rows, two, ours = trained(recipe, folder, output / "two", ranks)
    if not ranks.leads:
        return {}
    task = task_class(recipe.task)(recipe, Place(root_of(recipe, folder)))
    before = loop.build(recipe, 0, None, CPU, task)
    expected, one, theirs = trained(recipe, folder, output / "one", Ranks())
    result = {
        key: max(abs(a[key] - b[key]) / max(abs(b[key]), 1e-9) for a, b in zip(rows, expected, strict=True))
        for key in ("loss", "gradient_norm")
    }
    learned = {key: value.detach() for key, value in before.named_parameters() if value.requires_grad}
    weighted = {key: theirs[key].abs().double() for key in learned if key in theirs}
    apart = sum(float((weight * (two[key] - one[key]).abs()).sum()) for key, weight in weighted.items())
    moved = sum(float((weight * (learned[key] - one[key]).abs()).sum()) for key, weight in weighted.items())
    whole = sum(float(value.norm()) ** 2 for value in theirs.values()) ** 0.5
    gradients = [
        float((ours[key] - value).norm()) / max(float(value.norm()), LEAST * whole) for key, value in theirs.items()
    ]
    buffers = [
        float((two[key] - one[key]).abs().max() / one[key].abs().max().clamp(min=1)) for key in one.keys() - learned
    ]
    same = ours.keys() == theirs.keys()
    result |= {"buffers": max(buffers, default=0.0), "gradient": max(gradients) if same else math.inf}
    return result | {"weights": apart / moved, "moved": moved, "steps": len(rows)}


def main(folder: Path, result: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    # Checkpoints and weights of HD3 have hundreds of megabytes.
    state.save_state = lambda *_: None
    loop.save_weights = lambda *_, **__: None
    # Ranks draw different numbers, as they should; one process draws others.
    svg._draw = lambda mean, generator: torch.zeros_like(mean)
    found: dict[str, object] = {}
    with start() as ranks:
        for name in names:
            with tempfile.TemporaryDirectory() as output:
                place = ranks.from_leader(lambda: output)
                begin, used = time.monotonic(), time.process_time()
                try:
                    found[name] = differences(name, folder, Path(place), ranks)
                except Exception as error:
                    found[name] = f"{type(error).__name__}: {error}"
                    traceback.print_exc()
                ranks.meet()
                spent = time.process_time() - used
                print(f"{name}: {time.monotonic() - begin:.1f} s, {spent:.1f} s of CPU", found[name], flush=True)
        if ranks.leads:
            result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
