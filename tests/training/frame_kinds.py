"""One small run of every kind of preset that makes frames; as a script, a run in a process of its own.

    python frame_kinds.py KIND FOLDER OUTPUT [--resume]

A kind is a network with its number of inputs, a base loss, and how correspondences come in; presets that differ in
their data alone are one kind. Correspondences are found by wren, whose weights ship, and VGG-19 has random weights.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from flowzoo.blocks.image_backbones import vgg19
from flowzoo.distributed import Ranks
from flowzoo.files.images import write_image
from flowzoo.training.loop import Trained, train
from flowzoo.training.recipe import Recipe, list_presets, load_recipe
from flowzoo.training.stage_run import Surroundings
from flowzoo.training.task import Place
from flowzoo.training.tasks import task_class

NETWORKS = {
    "predictor": ("width=4",),
    "svg": ("architecture=dcgan", "code=8", "latent=2", "recurrent=16"),
    "svg-prime": ("width=1", "code=8", "latent=2", "recurrent=8"),
    "flavr": (),
}
CALM = {
    "data": "clips", "resize": "0,0", "crop": "64,64", "batch": "2", "validate_every": "0", "log_every": "1",
    "flips": "", "jitter": "0", "place": "centre", "backbone": "../vgg19.pth",
}  # fmt: skip
SIZES = {
    "predictor": {"steps": "16", "learning_rate": "2e-3"},
    "svg": {"steps": "12", "learning_rate": "2e-3", "inputs": "0,1", "targets": "2"},
    "svg-prime": {"steps": "8", "learning_rate": "1e-3", "inputs": "0,1", "targets": "2"},
    "flavr": {"steps": "14", "learning_rate": "1e-3", "batch": "1", "crop": "32,32"},
}
BY_WREN = {"flow": "wren", "flow_weights": "", "flow_settings": "refinement=none"}
WARM_STEPS = 40


def make_data(root: Path) -> Path:
    """Folders with one and with three clips of eight frames of a texture that moves by two pixels a frame."""
    for name, count in (("one", 1), ("three", 3)):
        for clip in range(count):
            noise = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(clip))
            wide = torch.nn.functional.interpolate(noise, (72, 96), mode="bicubic").clamp(0, 1)
            pixels = (wide[0].permute(1, 2, 0) * 255).round().byte().numpy()
            for index in range(8):
                shifted = np.ascontiguousarray(pixels[:, 2 * index : 2 * index + 80])
                write_image(root / name / f"clip_{clip}" / f"{index:03d}.png", shifted)
    return root


def make_backbone(root: Path) -> None:
    """Random weights of VGG-19 for the perceptual losses: 80 MB."""
    if not (root / "vgg19.pth").exists():
        torch.manual_seed(0)
        torch.save(vgg19().state_dict(), root / "vgg19.pth")


def kinds() -> dict[str, str]:
    """Name of a kind -> its first preset."""
    found: dict[str, str] = {}
    for preset in [*list_presets("prediction"), *list_presets("interpolation")]:
        found.setdefault(kind_of(load_recipe(preset)), preset)
    return found


def kind_of(recipe: Recipe) -> str:
    """The network, and what its loss differs in, as words."""
    stage = recipe.stages[-1]
    clips, loss = stage.task.clips, stage.task.loss
    frames = "of frames " + ",".join(map(str, clips.inputs)) if recipe.task == "interpolation" else len(clips.inputs)
    words = [f"{recipe.model} {frames}", loss.base]
    if loss.correspondence:
        words.append("by correspondences" if loss.flow_model == "dense" else loss.flow_model)
    if loss.magnitude:
        words.append(f"magnitude {loss.smoothness}")
    return " ".join(words)


def small(preset: str, **changes: str) -> Recipe:
    """A preset on the small clips, in a size that a test can afford."""
    recipe = load_recipe(preset)
    loss = recipe.stages[-1].task.loss
    sizes = dict(SIZES[recipe.model])
    if recipe.model == "predictor":  # over two steps
        first = len(recipe.stages[-1].task.clips.inputs)
        sizes["targets"] = f"{first},{first + 1}"
    if loss.magnitude:
        # From a warm start, and slowly: at the preset's own rate losses jump where no flow was found.
        sizes |= {"learning_rate": "5e-5", "steps": "48"}
    recipe = load_recipe(preset, CALM | sizes | (BY_WREN if loss.correspondence else {}) | changes)
    stages = [dataclasses.replace(stage, network=stage.network + NETWORKS[recipe.model]) for stage in recipe.stages]
    return dataclasses.replace(recipe, stages=tuple(stages), validate=())


def run(recipe: Recipe, root: Path, output: Path, *, resume: bool = False) -> Trained:
    """Train on what `make_data` wrote.

    A penalty on the flow's magnitude is large where wren finds no flow in a blurred image, whatever the step: such
    kinds go on from a warm start, as the paper's, and train on one clip, whose losses can be compared with each other.
    So does FLAVR, which learns slowly.
    """
    loss = recipe.stages[-1].task.loss
    if "perceptual" in loss.base:
        make_backbone(root)
    weights = warm_start(recipe, root / "one", root / "warm") if loss.magnitude else None
    alike = loss.magnitude or recipe.model == "flavr"
    return _train(recipe, root / ("one" if alike else "three"), output, resume=resume, weights=weights)


def warm_start(recipe: Recipe, clips: Path, folder: Path) -> dict[str, torch.Tensor]:
    """Weights after some steps with the recipe's pixel-wise form, kept in `folder`."""
    folder = folder / recipe.name
    loss = dataclasses.replace(recipe.stages[-1].task.loss, correspondence=False, magnitude=0.0, smooth=0.0)
    task = dataclasses.replace(recipe.stages[-1].task, loss=loss)
    stage = dataclasses.replace(recipe.stages[-1], task=task, steps=WARM_STEPS, learning_rate=2e-3)
    pixels = dataclasses.replace(recipe, stages=(stage,))
    return _train(pixels, clips, folder, resume=folder.is_dir(), weights=None).network.state_dict()


def _train(
    recipe: Recipe, clips: Path, output: Path, *, resume: bool, weights: dict[str, torch.Tensor] | None
) -> Trained:
    task = task_class(recipe.task)(recipe, Place(clips))
    where = Surroundings(output, Ranks(), torch.device("cpu"), resume, workers=0, weights=weights)
    return train(recipe, task, where)


def losses_of(output: Path) -> list[float]:
    """Of every step."""
    return [json.loads(line)["loss"] for line in (output / "log.jsonl").read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("root", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = small(kinds()[options.kind], save_every="1", steps="4")
    run(recipe, options.root, options.output, resume=options.resume)


if __name__ == "__main__":
    main()
