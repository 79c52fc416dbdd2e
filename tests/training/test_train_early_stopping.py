"""The best weights in validation are kept and shipped, and a run that stopped stays stopped."""

import json
import math
from pathlib import Path

import pytest
from safetensors.torch import load_file
from toy_task import known, toy_preset
from training_runs import trained

from flowzoo.checkpoints import describe
from flowzoo.training import stage_run, state
from flowzoo.training.recipe import Recipe, load_recipe
from flowzoo.training.task import Score

SCORES = {1: 10.0, 2: 12.0, 3: 11.0, 4: float("nan"), 5: 11.5, 6: 20.0, 7: 19.0}
"""Decibels by step: the best before it stops is that of step 2; what comes after step 5 nobody sees."""


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)
    monkeypatch.setattr(stage_run.StageRun, "_scores", lambda self: {"val": SCORES[self.step]})


def recipe(folder: Path, **changes: str) -> Recipe:
    usual = {"rough.steps": "0", "fine.steps": "7", "validate_every": "1", "save_every": "2", "patience": "3"}
    return load_recipe(toy_preset(folder), usual | changes)


def rows(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def test_it_stops_and_ships_the_best(tmp_path: Path, capsys) -> None:
    result = trained(recipe(tmp_path), tmp_path, tmp_path / "run")
    assert (result.ending.step, result.ending.score, result.ending.averaged) == (2, 12.0, True)
    assert [row["validation_psnr"] for row in rows(tmp_path / "run") if "validation" in row] == [10, 12, 11, None, 11.5]
    two = trained(recipe(tmp_path, **{"fine.steps": "2"}), tmp_path, tmp_path / "two")
    best, shipped, straight = (
        load_file(path) for path in (tmp_path / "run" / "best.safetensors", result.file, two.file)
    )
    assert all((best[name] == value).all() and (shipped[name] == value).all() for name, value in straight.items())
    assert all((value == best[name]).all() for name, value in result.network.state_dict().items())
    facts = describe(result.file)["facts"]
    assert (facts["step"], facts["averaged"], facts["validation"]) == (2, True, 12.0)


@pytest.mark.parametrize("stopped_at", [2, 4, 5])
def test_patience_and_the_best_survive_a_resume(tmp_path: Path, stopped_at: int, monkeypatch) -> None:
    whole = trained(recipe(tmp_path), tmp_path, tmp_path / "whole")
    save = state.save_state

    def dying(folder: Path, of: object, step: int, content: dict) -> None:
        save(folder, of, step, content)
        if step == stopped_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(state, "save_state", dying)
        with pytest.raises(KeyboardInterrupt):
            trained(recipe(tmp_path), tmp_path, tmp_path / "cut")
    (tmp_path / "cut" / "best.safetensors").unlink()
    for _ in range(2):  # and once more after the end
        again = trained(recipe(tmp_path), tmp_path, tmp_path / "cut", resume=True)
        assert again.file.read_bytes() == whole.file.read_bytes()
        best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "cut")]
        assert best[0] == best[1]
        assert [row["step"] for row in rows(tmp_path / "cut")] == [row["step"] for row in rows(tmp_path / "whole")]


def test_more_patience_goes_on(tmp_path: Path) -> None:
    trained(recipe(tmp_path), tmp_path, tmp_path / "run")
    more = trained(recipe(tmp_path, patience="4"), tmp_path, tmp_path / "run", resume=True)
    assert (more.ending.step, more.ending.score) == (6, 20.0)
    straight = trained(recipe(tmp_path, patience="4"), tmp_path, tmp_path / "straight")
    assert more.file.read_bytes() == straight.file.read_bytes()


def test_without_validation_the_last_weights_are_shipped(tmp_path: Path) -> None:
    result = trained(recipe(tmp_path, validate_every="0"), tmp_path, tmp_path / "run")
    assert (result.ending.step, result.ending.score) == (7, None)
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_what_is_better_than_what() -> None:
    low, high = Score("epe"), Score("psnr", "dB", higher_is_better=True)
    assert low.better(1.0, None)
    assert low.better(1.0, 2.0)
    assert not low.better(2.0, 2.0)
    assert high.better(2.0, 1.0)
    assert not high.better(1.0, 2.0)
    assert not any(score.better(math.nan, than) for score in (low, high) for than in (None, 1.0))
    assert high.shown(1.23456) == "1.235 dB"
