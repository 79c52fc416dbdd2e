"""Every preset trains: its networks, losses, data options and augmentations fit together, at tiny sizes."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from preset_samples import TINY, root_of
from training_runs import trained

from flowzoo.training import state
from flowzoo.training.flow.mixture import Mixture
from flowzoo.training.recipe import list_presets, load_recipe

HD3_PRESETS = [name for name in list_presets("flow") if load_recipe(name).model == "hd3"]
FALLING = (
    HD3_PRESETS
    if "FLOWZOO_EVERY_PRESET" in os.environ
    else [
        "hd3-chairs",
        "hd3-kitti",
        "pyramid-table1-row1",
        "pyramid-table1-row9",
    ]
)
"""A dozen seconds each, half a minute with a large range or max-pooling: FLOWZOO_EVERY_PRESET=1 takes all."""


def rows_of(preset: str, samples: Path, output: Path, changes: dict[str, str]) -> list[dict]:
    """What the loop logs of a preset whose stages all train on the same batch again and again."""
    root, own = root_of(samples, preset)
    recipe = load_recipe(preset, TINY | own | {"augmentation": "none"} | changes)
    trained(recipe, root, output)
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert all(0 < row["loss"] < float("inf") and row["gradient_norm"] > 0 for row in rows)
    return rows


@pytest.fixture
def no_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of HD3 have half a gigabyte."""
    monkeypatch.setattr(state, "save_state", lambda *_: None)


@pytest.mark.usefixtures("no_checkpoints")
@pytest.mark.parametrize("preset", [name for name in list_presets("flow") if name not in HD3_PRESETS])
def test_the_loss_falls(preset: str, samples: Path, tmp_path: Path) -> None:
    """A step of its first stage, then two of its last one with the same batch: the second finds a lower loss.

    At a low constant rate, where a step in the direction of the gradient has to help.
    """
    names = [stage.name for stage in load_recipe(preset).stages]
    steps = {f"{name}.steps": "0" for name in names} | {f"{names[0]}.steps": "1", f"{names[-1]}.steps": "2"}
    calm = {"learning_rate": "1e-5", "warmup": "0", "schedule": "constant"}
    rows = rows_of(preset, samples, tmp_path, steps | calm)
    assert {row["stage"] for row in rows} == {names[0], names[-1]}
    before, after = [row["loss"] for row in rows if row["stage"] == names[-1]]
    assert after < before


@pytest.mark.usefixtures("no_checkpoints")
@pytest.mark.parametrize("preset", HD3_PRESETS)
def test_a_preset_of_hd3_starts(preset: str, samples: Path, tmp_path: Path) -> None:
    """A step of every stage."""
    names = [stage.name for stage in load_recipe(preset).stages]
    rows = rows_of(preset, samples, tmp_path, {f"{name}.steps": "1" for name in names})
    assert [row["stage"] for row in rows] == names


@pytest.mark.usefixtures("no_checkpoints")
@pytest.mark.parametrize("preset", FALLING)
def test_the_loss_of_hd3_falls(preset: str, samples: Path, tmp_path: Path) -> None:
    """Its finer levels learn what the coarser ones leave over, so only the coarsest one's loss falls from the start.

    Batch norm of a few values makes single steps of a random network noisy: this takes the mean of several.
    """
    names = [stage.name for stage in load_recipe(preset).stages]
    steps = {f"{name}.steps": "0" for name in names} | {f"{names[-1]}.steps": "16"}
    coarsest = {"level_weights": "1,1e-6,1e-6,1e-6,1e-6", "learning_rate": "1e-4"}
    losses = [row["loss"] for row in rows_of(preset, samples, tmp_path, steps | coarsest)]
    assert len(losses) == 16
    assert sum(losses[-4:]) / 4 < losses[0] - 0.01


@pytest.mark.parametrize("preset", list_presets("flow"))
def test_every_stage_gets_its_samples(preset: str, samples: Path) -> None:
    """With its own augmentation, labels and directions."""
    root, changes = root_of(samples, preset)
    for stage in load_recipe(preset, TINY | changes).stages:
        pairs = dataclasses.replace(stage.task.pairs, crop=(48, 40))
        sample = Mixture(pairs, root, seed=0)[1]
        assert sample.first.shape == sample.second.shape == (3, 48, 40)
        assert 0 <= float(sample.first.min()) < float(sample.first.max()) <= 1
        assert sample.flow[:, sample.valid].isfinite().all()
        assert float(sample.valid.float().mean()) > 0.3
        assert (sample.labels is not None) == bool(pairs.labels)
        assert (sample.reverse is not None) == pairs.both_directions
