"""RAFT in the training loop: its loss over iterations, frozen batch norm, and resuming bit for bit."""

from pathlib import Path

import pytest
import torch
from training_runs import trained

from flowzoo.errors import InputError
from flowzoo.synthetic import SceneSettings
from flowzoo.synthetic.writing import RenderJob, render_to_disk
from flowzoo.training import state
from flowzoo.training.recipe import load_recipe

TINY = {
    "data": "pairs",
    "crop": "64,64",
    "batch": "1",
    "steps": "3",
    "warmup": "1",
    "validate_every": "0",
    "save_every": "1",
    "log_every": "1",
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    scenes = SceneSettings(objects=(2, 2), motion=0.5, calm=0.0, swap=0.0)
    list(render_to_disk(RenderJob(folder, None, None, 2, (72, 80), 3, scenes, False, False, procedural=4)))
    return folder


def recipe(preset: str):
    return load_recipe(preset, TINY | {"network": "iterations=2"})


def test_resumes_bit_for_bit(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(recipe("raft-small-chairs"), pairs, tmp_path / "whole").network.state_dict()
    save = state.save_state

    def dying(folder: Path, plan: object, step: int, content: dict) -> Path:
        path = save(folder, plan, step, content)
        if step == 2:
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(state, "save_state", dying)
    with pytest.raises(KeyboardInterrupt):
        trained(recipe("raft-small-chairs"), pairs, tmp_path / "cut")
    monkeypatch.undo()
    again = trained(recipe("raft-small-chairs"), pairs, tmp_path / "cut", resume=True).network.state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize(("preset", "moves"), [("raft-chairs", True), ("raft-things", False)])
def test_batch_norm_is_trained_on_chairs_alone(
    preset: str, moves: bool, pairs: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(state, "save_state", lambda *_: None)
    stage = load_recipe(preset).stages[0]
    assert f"batch_norm={'trained' if moves else 'frozen'}" in stage.network
    plan = load_recipe(preset, TINY | {"steps": "1", "network": f"{stage.network[-1]},iterations=1"})
    mean = trained(plan, pairs, tmp_path).network.context.stem.norm.running_mean
    assert bool(mean.any()) == moves


def test_the_four_stages_follow_each_other() -> None:
    crops = {"raft-chairs": (368, 496), "raft-things": (400, 720), "raft-sintel": (368, 768), "raft-kitti": (288, 960)}
    steps, rates, gammas = [], [], []
    for name, crop in crops.items():
        (stage,) = load_recipe(name).stages
        assert stage.task.pairs.crop == crop
        assert stage.task.pairs.augmentation == name
        assert (stage.task.loss.loss, stage.clip, stage.optimizer) == ("sequence", 1.0, "adamw")
        assert stage.warmup == stage.steps // 20
        steps.append(stage.steps)
        rates.append(stage.learning_rate)
        gammas.append(stage.task.loss.gamma)
    assert steps == [100_000, 100_000, 100_000, 50_000]
    assert rates == [4e-4, 1.25e-4, 1.25e-4, 1e-4]
    assert gammas == [0.8, 0.8, 0.85, 0.85]


def test_the_sequence_loss_is_not_for_pyramids(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images' size"):
        trained(load_recipe("pwcnet-chairs", TINY | {"loss": "sequence"}), pairs, tmp_path)
