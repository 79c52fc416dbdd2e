"""The loop trains what is no optical flow: resumes it bit for bit, on several ranks, with its own score and log."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_task import PRESET, known, toy_preset
from training_runs import CPU, trained

from flowzoo.distributed import Ranks
from flowzoo.errors import InputError
from flowzoo.training import state
from flowzoo.training.recipe import Recipe, describe, load_recipe
from flowzoo.training.tally import Tally
from flowzoo.training.task import Loss


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    return Path(toy_preset(tmp_path))


def recipe(preset: Path, **changes: str) -> Recipe:
    return load_recipe(str(preset), changes)


def rows(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def test_a_preset_has_the_tasks_settings(preset: Path, tmp_path: Path) -> None:
    found = recipe(preset)
    assert [stage.task.penalty for stage in found.stages] == ["l1", "l2"]
    copy = tmp_path / "copy" / "toy.toml"
    copy.parent.mkdir()
    copy.write_text(describe(found))
    assert load_recipe(str(copy)) == found
    with pytest.raises(InputError, match="has no setting 'crop'"):  # one of another task
        recipe(preset, crop="8,8")
    preset.write_text('task = "denoisin"')
    with pytest.raises(InputError, match="did you mean 'denoising'"):
        recipe(preset)


def test_it_trains_by_its_own_score(preset: Path, tmp_path: Path) -> None:
    result = trained(recipe(preset, learning_rate="1e-2", steps="40", validate_every="10"), tmp_path, tmp_path / "run")
    found = rows(tmp_path / "run")
    header = (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    assert header == ("stage,step,loss,psnr,learning_rate,gradient_norm,samples_per_second,waiting,validation_psnr")
    scores = [row["validation_psnr"] for row in found if "validation_psnr" in row]
    assert len(scores) == 8
    assert scores[3] > scores[0]
    assert result.ending.score == max(scores[4:])  # the best is the highest, of the last stage
    assert type(result.network).__name__ == "Denoiser"


@pytest.mark.parametrize("stopped_at", [1, 3, 5, 7])
def test_it_resumes_bit_for_bit(preset: Path, tmp_path: Path, stopped_at: int, monkeypatch) -> None:
    """Also what dropout draws."""
    whole = trained(recipe(preset), tmp_path, tmp_path / "whole")
    save = state.save_state

    def dying(folder: Path, of: object, step: int, content: dict) -> None:
        save(folder, of, step, content)
        if step == stopped_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(state, "save_state", dying)
    with pytest.raises(KeyboardInterrupt):
        trained(recipe(preset), tmp_path, tmp_path / "cut")
    monkeypatch.setattr(state, "save_state", save)
    torch.manual_seed(stopped_at)
    again = trained(recipe(preset), tmp_path, tmp_path / "cut", resume=True)
    assert again.file.read_bytes() == whole.file.read_bytes()
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "cut"), strict=True):
        assert {key: one.get(key) for key in ("step", "loss", "psnr", "validation_psnr", "gradient_norm")} == {
            key: other.get(key) for key in ("step", "loss", "psnr", "validation_psnr", "gradient_norm")
        }


def test_two_ranks_are_one_process(preset: Path, tmp_path: Path) -> None:
    """With batch norm over both ranks."""
    preset.write_text(PRESET.replace("dropout = 0.3", "dropout = 0"))
    one = trained(recipe(preset), tmp_path, tmp_path / "one")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    script = [str(Path(__file__).with_name("toy_task.py")), "train", str(preset), "-o", str(tmp_path / "two")]
    done = subprocess.run([*launcher, *script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    two = load_file(tmp_path / "two" / "denoiser.safetensors")
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-5)
    for left, right in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        for key in left.keys() & {"loss", "psnr", "gradient_norm", "validation_psnr"}:
            assert left[key] == pytest.approx(right[key], rel=1e-4), key


def test_a_network_of_another_task_is_refused(preset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wren is a network for flow, the preset toy trains denoising"):
        trained(load_recipe(str(preset), {"network": ""}, "wren"), tmp_path, tmp_path / "run")


def test_skipped_steps_are_counted_and_the_log_stays_json(preset: Path, tmp_path: Path) -> None:
    """In float16, steps whose scaled gradient overflows are skipped: their norm is no number that JSON has."""
    preset.write_text(PRESET.replace("dropout = 0.3", "norm = false"))
    changes = {"precision": "float16", "noise": "300", "rough.steps": "4", "validate_every": "0", "log_every": "1"}
    trained(recipe(preset, **changes, **{"fine.steps": "0"}), tmp_path, tmp_path / "run")
    text = (tmp_path / "run" / "log.jsonl").read_text()

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = [json.loads(line, parse_constant=refused) for line in text.splitlines()]
    assert any(row.get("skipped") == 1 and row["gradient_norm"] is None for row in found)
    assert (tmp_path / "run" / "log.csv").read_text().count("inf") == 0


def test_a_skipped_step_leaves_the_mean_of_the_others() -> None:
    tally = Tally(("psnr",), CPU)
    for norm, psnr in ((2.0, 20.0), (float("inf"), 30.0), (4.0, 40.0)):
        tally.add(Loss(torch.tensor(1.5), {"psnr": torch.tensor(psnr)}), 1.0)
        tally.add_step(torch.tensor(norm))
    assert tally.means(Ranks()) == {"loss": 1.5, "psnr": 30.0, "gradient_norm": 3.0, "skipped": 1}
    assert bool(tally.is_finite(skipping=True))
    assert not bool(tally.is_finite(skipping=False))
