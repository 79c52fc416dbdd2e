"""Three steps of many networks and presets on two ranks, compared with one process; run under torchrun.

    torchrun --nproc-per-node 2 two_ranks.py FOLDER RESULT.json NAME...

FOLDER holds what `preset_samples.make_samples` wrote. NAME is a network, or PRESET:STAGE. RESULT.json has for each name
the `differences`, or a text with what went wrong.
"""

import dataclasses
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch
from preset_samples import TINY
from torch import Tensor

from flowzoo.augmentation import TrainingBatch
from flowzoo.distributed import Ranks, start
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.training import loop, state
from flowzoo.training.flow.settings import FlowSettings, LossSettings, PairSettings
from flowzoo.training.flow.task import FlowTask
from flowzoo.training.recipe import Recipe, load_recipe
from flowzoo.training.stage import Stage
from flowzoo.training.stage_run import Surroundings
from flowzoo.training.task import Place

CPU, STEPS, BUILD = torch.device("cpu"), 3, loop.build
EVERY_SIZE = LossSettings(
    level_weights=(0.2,) * 7, full_weight=1.0, unit=1.0, reduction="mean", shrinking="average", exponent=0.375
)
DENSITIES = LossSettings(loss="density", level_weights=(1.0,) * 5)
RATE = 1e-5


def recipe_of(name: str) -> Recipe:
    """Three calm steps with two samples each."""
    preset, _, stage = name.partition(":")
    calm = {"steps": STEPS, "batch": 2, "accumulate": 1, "learning_rate": RATE, "schedule": "constant", "warmup": 0}
    if not stage:
        density = name.startswith("hd3")
        pairs = PairSettings(data=("pairs",), crop=(64, 64), augmentation="none")
        task = FlowSettings(pairs, DENSITIES if density else EVERY_SIZE)
        return Recipe(name, "", name, 0, (), (Stage(**calm, log_every=1, task=task),))
    recipe = load_recipe(preset, TINY | {"augmentation": "none"})
    number = [entry.name for entry in recipe.stages].index(stage)
    task = recipe.stages[number].task
    labels = "." if task.pairs.labels else ""  # the truth itself
    pairs = dataclasses.replace(task.pairs, labels=labels)
    chosen = dataclasses.replace(recipe.stages[number], **calm, task=dataclasses.replace(task, pairs=pairs))
    return dataclasses.replace(recipe, stages=(chosen,))


class Precise(FlowTask):
    """In float64: HD3's batch norm of two values and choice of windows, and GOCor's steps, magnify rounding."""

    def predict(self, network: FlowNetwork, batch: TrainingBatch) -> FlowPrediction:
        return network(batch.first.double(), batch.second.double())


def trained(recipe: Recipe, folder: Path, output: Path, ranks: Ranks) -> tuple[list[dict], dict[str, Tensor]]:
    """What a run logs, and its weights."""
    settings = recipe.stages[0].task
    root = folder / ("back" if settings.pairs.both_directions else "two")
    precise = settings.loss.loss == "density" or recipe.model == "pwcnet-gocor"
    loop.build = (lambda *place: BUILD(*place).double()) if precise else BUILD
    task = (Precise if precise else FlowTask)(recipe, Place(root))
    found = loop.train(recipe, task, Surroundings(output, ranks, CPU, workers=0)).network.state_dict()
    text = (output / "log.jsonl").read_text() if ranks.leads else ""
    return [json.loads(line) for line in text.splitlines()], found


def differences(name: str, folder: Path, output: Path, ranks: Ranks) -> dict[str, float]:
    """How far two ranks are from one process.

    Losses, norms, and buffers relative to their size, what is trained relative to its change.
    """
    recipe = recipe_of(name)
    rows, two = trained(recipe, folder, output / "two", ranks)
    if not ranks.leads:
        return {}
    before = loop.build(recipe, 0, None, CPU)
    expected, one = trained(recipe, folder, output / "one", Ranks())
    result = {
        key: max(abs(a[key] - b[key]) / abs(b[key]) for a, b in zip(rows, expected, strict=True))
        for key in ("loss", "epe", "gradient_norm")
    }
    learned = {key: value.detach() for key, value in before.named_parameters() if value.requires_grad}
    apart = sum(float((two[key] - one[key]).abs().sum()) for key in learned)
    moved = sum(float((value - one[key]).abs().sum()) for key, value in learned.items())
    buffers = [
        float((two[key] - one[key]).abs().max() / one[key].abs().max().clamp(min=1)) for key in one.keys() - learned
    ]
    return result | {"weights": apart / moved, "moved": moved, "buffers": max(buffers, default=0.0), "steps": len(rows)}


def main(folder: Path, result: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    # Checkpoints and weights of HD3 have hundreds of megabytes.
    state.save_state = lambda *_: None
    loop.save_weights = lambda *_, **__: None
    found: dict[str, object] = {}
    with start() as ranks:
        for name in names:
            with tempfile.TemporaryDirectory() as output:
                place = ranks.from_leader(lambda: output)
                begin = time.monotonic()
                try:
                    found[name] = differences(name, folder, Path(place), ranks)
                except Exception as error:
                    found[name] = f"{type(error).__name__}: {error}"
                    traceback.print_exc()
                ranks.meet()
                print(f"{name}: {time.monotonic() - begin:.1f} s", found[name], flush=True)
        if ranks.leads:
            result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
