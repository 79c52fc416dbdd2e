"""Every preset starts: its networks, losses and augmentations fit together, at tiny sizes on rendered pairs."""

import json
from pathlib import Path

import pytest
import torch

from flowzoo.data.synthetic import SyntheticPairs, Textures
from flowzoo.data.synthetic.packed import Manifest, write_manifest, write_shard
from flowzoo.training.distributed import Ranks
from flowzoo.training.loop import Surroundings, train
from flowzoo.training.recipe import list_presets, load_recipe

SMALL = {"data": "synthetic", "crop": "64,64", "batch": "1", "precision": "float32", "log_every": "1"}


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rendered pairs of 96x64."""
    folder = tmp_path_factory.mktemp("pairs")
    source = SyntheticPairs(Textures(None, procedural=4), size=(64, 96), count=2)
    write_manifest(folder, Manifest(2, (64, 96), 0, False, {}))
    write_shard(folder, 0, [source.render(range(2), as_bytes=True)], backward=False)
    return folder


def rows(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def surroundings(pairs: Path, output: Path) -> Surroundings:
    return Surroundings(pairs, output, Ranks(0, 1, torch.device("cpu")), workers=0)


# HD3's checkpoints have half a gigabyte: its presets are tested without the loop (test_hd3_presets.py).
@pytest.mark.parametrize("preset", [name for name in list_presets() if load_recipe(name).model != "hd3"])
def test_a_preset_starts(preset: str, pairs: Path, tmp_path: Path) -> None:
    """Its first and its last stage take a step."""
    names = [stage.name for stage in load_recipe(preset).stages]
    steps = {f"{name}.steps": "1" if name in (names[0], names[-1]) else "0" for name in names}
    train(load_recipe(preset, SMALL | steps | {"validate_every": "0", "patience": "0"}), surroundings(pairs, tmp_path))
    assert {row["stage"] for row in rows(tmp_path)} == {names[0], names[-1]}
    assert all(0 < row["loss"] < float("inf") for row in rows(tmp_path))


@pytest.mark.parametrize("preset", ["default", "liteflownet2-chairs", "pwcnet-chairs"])
def test_the_loss_falls(preset: str, pairs: Path, tmp_path: Path) -> None:
    """The first stage, on one pair again and again, without augmentation."""
    first, *others = [stage.name for stage in load_recipe(preset).stages]
    steps = {f"{name}.steps": "0" for name in others} | {f"{first}.steps": "12", "augmentation": "none"}
    changes = SMALL | steps | {"validate_every": "0", "learning_rate": "5e-4", "warmup": "1", "crop": "64,96"}
    train(load_recipe(preset, changes), surroundings(pairs, tmp_path))
    losses = [row["loss"] for row in rows(tmp_path)]
    assert min(losses[-4:]) < 0.9 * losses[0]
