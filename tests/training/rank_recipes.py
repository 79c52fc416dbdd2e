"""Three calm steps of every network and family of presets, in sizes that a test can afford, by name.

A name is a network, or PRESET:STAGE.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from frame_kinds import make_backbone
from preset_samples import TINY, make_samples

from flowzoo import registry
from flowzoo.files.images import write_image
from flowzoo.training.flow.settings import FlowSettings, LossSettings, PairSettings
from flowzoo.training.frames.settings import ClipSettings, FrameLossSettings, FrameSettings
from flowzoo.training.recipe import Recipe, list_presets, load_recipe
from flowzoo.training.stage import Stage

STEPS, RATE = 3, 1e-5
EVERY_SIZE = LossSettings(
    level_weights=(0.2,) * 7, full_weight=1.0, unit=1.0, reduction="mean", shrinking="average", exponent=0.375
)
DENSITIES = LossSettings(loss="density", level_weights=(1.0,) * 5)
CALM = {
    "steps": STEPS, "batch": 2, "accumulate": 1, "learning_rate": RATE, "schedule": "constant", "warmup": 0,
    "precision": "float32", "log_every": 1, "validate_every": 0, "patience": 0, "average": 0.0,
}  # fmt: skip
MATCHING = (":GLUNet", ":BaseNet")
SMALL = {
    "predictor": ("width=4",),
    "toy-generator": ("width=4",),
    "svg": ("architecture=dcgan", "code=8", "latent=2", "recurrent=16"),
    "svg-prime": ("width=1", "code=8", "latent=2", "recurrent=8"),
    "edvr-m": ("channels=16", "reconstruct_blocks=1"),
    "edvr-l": ("channels=16", "reconstruct_blocks=1"),
    "tdan": ("channels=16", "extract_blocks=1", "reconstruct_blocks=1"),
    "basicvsr": ("channels=8", "blocks=1"),
    "kestrel": ("channels=8", "width=8", "blocks=1"),
}
VIDEO_TASKS = ("prediction", "interpolation", "super-resolution", "alignment")


def make_data(root: Path) -> Path:
    """What all recipes train on: pairs (see `preset_samples`), `clips` of frames, `photographs`, weights of VGG-19."""
    make_samples(root)
    make_backbone(root)
    random = torch.Generator().manual_seed(0)
    for clip in range(2):
        noise = torch.rand(1, 3, 24, 32, generator=random)
        wide = torch.nn.functional.interpolate(noise, (72, 96), mode="bicubic").clamp(0, 1)
        pixels = (wide[0].permute(1, 2, 0) * 255).round().byte().numpy()
        for index in range(8):
            shifted = np.ascontiguousarray(pixels[:, 2 * index : 2 * index + 80])
            write_image(root / "clips" / f"clip_{clip}" / f"{index:03d}.png", shifted)
    for number in range(9):
        noise = torch.rand(1, 3, 30, 34, generator=random)
        picture = torch.nn.functional.interpolate(noise, (150, 170), mode="bicubic").clamp(0, 1)[0]
        write_image(root / "photographs" / f"{number}.png", (picture * 255).byte().permute(1, 2, 0).numpy())
    return root


def recipe_of(name: str) -> Recipe:
    """The recipe of a name."""
    preset, _, stage = name.partition(":")
    card = registry.card(preset) if not stage else None
    if card is not None and card.task == "flow":
        return _flow_network(name)
    if card is not None:
        clips = ClipSettings(inputs=(0, 1), targets=(2,), crop=(32, 32), flips=())
        entry = Stage(**CALM, network=SMALL.get(name, ()), task=FrameSettings(clips, FrameLossSettings()))
        return Recipe(name, "", name, 0, (), (entry,), card.task)
    recipe = load_recipe(preset)
    if recipe.task == "flow":
        return _flow_stage(preset, stage)
    return _video_stage(recipe, stage)


def _flow_network(name: str) -> Recipe:
    pairs = PairSettings(data=("pairs",), crop=(64, 64), augmentation="none")
    task = FlowSettings(pairs, DENSITIES if name.startswith("hd3") else EVERY_SIZE)
    return Recipe(name, "", name, 0, (), (Stage(**CALM, task=task),))


def _flow_stage(preset: str, stage: str) -> Recipe:
    recipe = load_recipe(preset, TINY | {"augmentation": "none"})
    chosen = next(entry for entry in recipe.stages if entry.name == stage)
    labels = "." if chosen.task.pairs.labels else ""  # the truth itself
    pairs = dataclasses.replace(chosen.task.pairs, labels=labels)
    chosen = dataclasses.replace(chosen, **CALM, task=dataclasses.replace(chosen.task, pairs=pairs))
    return dataclasses.replace(recipe, stages=(chosen,), validate=())


def _video_stage(recipe: Recipe, stage: str) -> Recipe:
    chosen = next(entry for entry in recipe.stages if entry.name == stage)
    task = chosen.task
    if recipe.task == "alignment":
        task = dataclasses.replace(task, pool=16, test_pairs=8)
    elif recipe.task == "super-resolution":
        frames = min(5, task.clips.frames)
        clips = dataclasses.replace(task.clips, data=("clips",), crop=16, flow_weights="", frames=frames)
        task = dataclasses.replace(task, clips=clips)
    else:
        clips = dataclasses.replace(task.clips, data=("clips",), resize=(0, 0), crop=(64, 64))
        if recipe.model.startswith("svg"):
            clips = dataclasses.replace(clips, inputs=(0, 1), targets=(2,))
        loss = dataclasses.replace(task.loss, backbone="../vgg19.pth")
        if loss.correspondence:
            loss = dataclasses.replace(loss, flow="wren", flow_weights="", flow_settings=("refinement=none",))
        task = dataclasses.replace(task, clips=clips, loss=loss)
    chosen = dataclasses.replace(chosen, **CALM, network=chosen.network + SMALL.get(recipe.model, ()), task=task)
    return dataclasses.replace(recipe, stages=(chosen,), validate=())


def root_of(recipe: Recipe, folder: Path) -> Path:
    """The data of a recipe in the folder that `make_data` has filled."""
    if recipe.task == "flow":
        return folder / ("back" if recipe.stages[0].task.pairs.both_directions else "two")
    return folder / ("photographs" if recipe.task == "alignment" else "clips")


def networks() -> list[str]:
    """Every network that a name alone trains, and one preset for each other one."""
    presets = {load_recipe(preset).model for task in VIDEO_TASKS for preset in list_presets(task)}
    return [*registry.list_models(task="flow"), *(set(registry.list_models(task="prediction")) - presets)]


def flow_stages(everything: bool) -> list[str]:
    """One stage of every network and kind of data and loss that presets of flow have, the coarsest level's, too.

    Of the matching networks, which work at 256x256 inside, the network alone has to do.
    """
    found = {}
    for preset in list_presets("flow"):
        recipe = load_recipe(preset)
        if registry.card(recipe.model).build.endswith(MATCHING) and not everything:
            continue
        for stage in recipe.stages:
            loss, pairs = stage.task.loss, stage.task.pairs
            network: list[str] = [entry for entry in stage.network if entry == "finest_level=6"]
            kind: tuple[object, ...] = (loss.loss, pairs.both_directions, bool(pairs.labels))
            if everything:
                network = list(stage.network)
                kind += (loss.full_weight > 0, loss.max_pooling < 1, loss.upsample)
            found[recipe.model, str(network), kind] = f"{preset}:{stage.name}"
    return sorted(found.values())


def video_stages() -> list[str]:
    """One stage of every network and kind of loss that presets of video have."""
    found = {}
    for task in VIDEO_TASKS:
        for preset in list_presets(task):
            recipe = load_recipe(preset)
            for stage in recipe.stages:
                found[recipe.model, _kind_of_loss(task, stage)] = f"{preset}:{stage.name}"
    return sorted(found.values())


def _kind_of_loss(task: str, stage: Stage) -> tuple[object, ...]:
    if task == "alignment":
        return (stage.task.fidelity_weight > 0,)
    loss = stage.task.loss
    if task == "super-resolution":
        return loss.fidelity_weight > 0, loss.aligned_weight > 0, stage.task.clips.mirror
    return "perceptual" in loss.base, loss.correspondence, loss.flow_model != "dense", loss.magnitude > 0
