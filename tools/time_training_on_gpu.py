"""What a training step takes on a GPU: augmentation, gradient as it is and as a CUDA graph, optimiser, and the kernels.

    python tools/time_training_on_gpu.py wren-global [--device cuda] [--batches 64,128] [--set KEY=VALUE] [--kernels 12]

The last stage of the preset on made pairs, so that no process that prepares batches is in the way.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowzoo.augmentation import Augmentation, TrainingSample
from flowzoo.augmentation.planned import PlannedBatch, PlannedSample, augmented_batch, planned
from flowzoo.distributed import Ranks
from flowzoo.training.flow.mixture import AUGMENTATIONS
from flowzoo.training.flow.task import FlowTask
from flowzoo.training.flow.task import settings_of as flow_settings
from flowzoo.training.loop import build
from flowzoo.training.recipe import load_recipe
from flowzoo.training.recorded import RecordedGradient
from flowzoo.training.stage_run import StageRun, Step, Surroundings
from flowzoo.training.task import Place

WARM_UP, REPEATS = 4, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", default="64")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for flowzoo train")
    parser.add_argument("--kernels", type=int, default=12)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    for batch in map(int, arguments.batches.split(",")):
        changes = dict(change.split("=", 1) for change in arguments.set)
        measure(arguments.preset, changes | {"batch": str(batch)}, device, arguments.kernels)


def measure(preset: str, changes: dict[str, Any], device: torch.device, kernels: int) -> None:
    """Print one line for a batch size, and the kernels that took longest."""
    recipe = load_recipe(preset, changes)
    number = len(recipe.stages) - 1
    stage, task = recipe.stages[number], FlowTask(recipe, Place())
    network = build(recipe, number, None, device, task).train()
    run = StageRun(recipe, number, task, Surroundings(Path(), Ranks(), device), network, None, 0, None)
    run.model = Step(network, task, run)
    plan = made_batch(stage.batch, flow_settings(stage).pairs)
    augmenting = timed(lambda: augmented_batch(plan.to(device)), device)
    batch = augmented_batch(plan.to(device))
    run.gradient = run._gradient

    def step() -> None:
        run.add_gradient(batch, 0)
        run.update_weights()

    eager = timed(step, device)
    words = f"batch {stage.batch}: augmentation {augmenting:.1f} ms, step {eager:.1f} ms"
    graph = eager
    if device.type == "cuda":
        run.gradient = RecordedGradient(run._gradient, run.parameters)
        graph = timed(step, device)
        words += f", as a graph {graph:.1f} ms, most memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    print(f"{words}: {1000 * stage.batch / (graph + augmenting):.0f} samples/s", flush=True)
    if kernels and device.type == "cuda":
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            step()
            torch.cuda.synchronize()
        table = profile.key_averages().table(
            sort_by="self_device_time_total", row_limit=kernels, max_name_column_width=70
        )
        print("\n".join(line[:72] + line[-72:] for line in table.splitlines()), flush=True)


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Milliseconds, the mean of some runs after others."""
    for _ in range(WARM_UP):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    for _ in range(REPEATS):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - begin) / REPEATS * 1000


def made_batch(count: int, pairs: Any) -> PlannedBatch:
    """Plans for `count` samples of smooth pairs, as many of each as the stage repeats."""
    augmentation = Augmentation(AUGMENTATIONS[pairs.augmentation](), pairs.crop, 0)
    height, width = pairs.scene
    random = np.random.default_rng(0)
    parts = []
    for number in range(count):
        if number % pairs.repeats == 0:
            small = torch.from_numpy(random.uniform(0, 255, (2, 3, height // 8, width // 8)).astype(np.float32))
            frames = torch.nn.functional.interpolate(small, (height, width), mode="bilinear").to(torch.uint8)
            flow = (
                torch.from_numpy(random.normal(0, 9, (2, 1, 1)).astype(np.float32))
                .expand(2, height, width)
                .contiguous()
            )
            known = torch.ones((height, width), dtype=torch.bool)
            reverse = torch.cat((-flow, known[None].float())) if pairs.both_directions else None
            sample = TrainingSample(frames[0], frames[1], flow, known, reverse=reverse)
        parts.append(PlannedSample(sample, augmentation.plan(sample, 0, number)))
    batch = planned(parts)
    assert isinstance(batch, PlannedBatch), "a batch that can be augmented at once"
    return batch


if __name__ == "__main__":
    main()
