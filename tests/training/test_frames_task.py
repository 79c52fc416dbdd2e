"""Training on frames: prediction, stochastic prediction and frames in between, with and without correspondences."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import trained

from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.files.images import write_image
from flowzoo.training.frames.settings import ClipSettings, FrameSettings
from flowzoo.training.frames.windows import Windows
from flowzoo.training.recipe import Recipe, list_presets, load_recipe
from flowzoo.training.tasks import task_card

PRESETS = [*list_presets("prediction"), *list_presets("interpolation")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of eight frames of a texture that moves by two pixels a frame."""
    root = tmp_path_factory.mktemp("clips")
    for clip in range(3):
        noise = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(clip))
        wide = torch.nn.functional.interpolate(noise, (72, 96), mode="bicubic").clamp(0, 1)
        pixels = (wide[0].permute(1, 2, 0) * 255).round().byte().numpy()
        for index in range(8):
            shifted = np.ascontiguousarray(pixels[:, 2 * index : 2 * index + 80])
            write_image(root / f"clip_{clip}" / f"{index:03d}.png", shifted)
    return root


def small(preset: str, **changes: str) -> Recipe:
    """A preset on the small clips, in a size that a test can afford."""
    same = {
        "data": "clips", "resize": "0,0", "crop": "64,64", "batch": "2", "validate_every": "0", "save_every": "2",
        "log_every": "1", "steps": "3",
    }  # fmt: skip
    if load_recipe(preset).stages[0].task.loss.correspondence:
        same |= {"flow": "wren", "flow_weights": "", "flow_settings": "refinement=none"}
    recipe = load_recipe(preset, same | changes)
    network = {"predictor": ("width=4",), "svg": ("architecture=dcgan", "code=8", "latent=2", "recurrent=16"),
               "svg-prime": ("width=1", "code=8", "latent=2", "recurrent=8"), "flavr": ()}[recipe.model]  # fmt: skip
    stages = [dataclasses.replace(stage, network=stage.network + network) for stage in recipe.stages]
    return dataclasses.replace(recipe, stages=tuple(stages), validate=())


def rows(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_name_networks_data_and_weights_that_exist(preset: str) -> None:
    from flowzoo.checkpoints import index
    from flowzoo.datasets.clips.catalogue import list_clip_datasets

    recipe = load_recipe(preset)
    assert registry.card(recipe.model).task == recipe.task
    for stage in recipe.stages:
        assert {entry.partition("/")[0] for entry in stage.task.clips.data} <= {*list_clip_datasets(), "vimeo90k"}
        loss = stage.task.loss
        if loss.correspondence:
            assert index.find(loss.flow_weights).model == loss.flow


@pytest.mark.parametrize(
    ("preset", "steps"), [("predictor-kitti", 16), ("predictor-kitti-correspondence", 16), ("svg-kitti", 6)]
)
def test_the_loss_falls(preset: str, steps: int, clips: Path, tmp_path: Path) -> None:
    recipe = small(preset, steps=str(steps), learning_rate="2e-3", inputs="0,1", targets="2", flips="", jitter="0")
    trained(recipe, clips, tmp_path)
    losses = [row["loss"] for row in rows(tmp_path)]
    assert np.mean(losses[-3:]) < 0.97 * losses[0]


@pytest.mark.parametrize("preset", ["predictor-kitti-magnitude", "predictor-kitti-affine"])
def test_other_correspondences_train(preset: str, clips: Path, tmp_path: Path) -> None:
    trained(small(preset, steps="1", targets="3"), clips, tmp_path)
    assert np.isfinite(rows(tmp_path)[0]["loss"])


def test_flavr_trains_between_frames(clips: Path, tmp_path: Path) -> None:
    trained(small("flavr-vimeo-2frame-correspondence", steps="1", batch="1", crop="32,32"), clips, tmp_path)
    assert np.isfinite(rows(tmp_path)[0]["loss"])


@pytest.mark.parametrize("preset", ["predictor-kitti-correspondence", "svg-kitti"])
def test_it_resumes_bit_for_bit(preset: str, clips: Path, tmp_path: Path) -> None:
    recipe = small(preset, steps="2", save_every="1", inputs="0", targets="1,2")
    whole = trained(recipe, clips, tmp_path / "whole")
    trained(recipe, clips, tmp_path / "cut")
    (tmp_path / "cut" / "checkpoint-000000002.pt").unlink()
    again = trained(recipe, clips, tmp_path / "cut", resume=True)
    assert again.file.read_bytes() == whole.file.read_bytes()


def test_validation_keeps_the_best_by_psnr(clips: Path, tmp_path: Path) -> None:
    recipe = small("predictor-kitti", steps="6", validate_every="2", targets="3")
    result = trained(recipe, clips, tmp_path, validate=("clips/val",), validation_limit=2)
    scores = [row["validation_psnr"] for row in rows(tmp_path) if "validation_psnr" in row]
    assert len(scores) == 3
    assert result.ending.score == max(scores)
    assert len(list((tmp_path / "pictures").iterdir())) >= 2


def test_a_sample_is_the_same_whoever_asks(clips: Path) -> None:
    settings = ClipSettings(
        inputs=(0, 1), targets=(2,), crop=(32, 48), place="random", flips=("h", "v", "t"), jitter=0.1
    )
    first, second = Windows(settings, clips, 3), Windows(settings, clips, 3)
    for number in (0, 5, 17):
        a, b = first[number], second[number]
        assert torch.equal(a.inputs, b.inputs)
        assert a.inputs.shape == (2, 3, 32, 48)
        assert a.targets.shape == (1, 3, 32, 48)
    assert not torch.equal(first[0].inputs, first[1].inputs)


def test_inputs_come_before_targets(clips: Path) -> None:
    """Each frame shows the one before, two pixels to the left."""
    sample = Windows(ClipSettings(inputs=(0, 1), targets=(2, 3), flips=()), clips, 0)[0]
    frames = torch.cat([sample.inputs, sample.targets])
    for before, after in itertools.pairwise(frames):
        assert (before[..., 2:] - after[..., :-2]).abs().max() == 0


def test_mistakes_are_one_line(clips: Path, tmp_path: Path) -> None:
    for changes, hint in (
        ({"data": "clip"}, "did you mean 'clips'"),
        ({"targets": "12"}, "no clip of 13 frames"),
        ({"crop": "200,64"}, "smaller than the crop"),
        ({"base": "perceptual"}, "torchvision's are at"),
        ({"inputs": "1,2"}, "first places of a window"),
    ):
        with pytest.raises(InputError, match=hint):
            trained(small("predictor-kitti", **changes), clips, tmp_path / hint[:4])
    with pytest.raises(InputError, match="places in a window"):
        ClipSettings(targets=())
    assert isinstance(task_card("interpolation").settings, FrameSettings)
