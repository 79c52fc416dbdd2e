"""The script for a lent GPU, with another program in Python's place; and the weights of a run as it stands."""

import importlib.util
import itertools
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
import torch

from flowzoo import registry
from flowzoo.checkpoints import load_weights
from flowzoo.errors import InputError
from flowzoo.training import state
from flowzoo.training.recipe import load_recipe

TOOLS = Path(__file__).parents[2] / "tools"
specification = importlib.util.spec_from_file_location("weights_of_run", TOOLS / "weights_of_run.py")
tool = importlib.util.module_from_spec(specification)
specification.loader.exec_module(tool)

STAND_IN = """#!/bin/bash
printf '%s\\n' "$@" >> "$SEEN"
if [ "$1" = -m ]; then
    while [ "$1" != -o ]; do shift; done
    mkdir -p "$2"
    echo step,loss > "$2/log.csv"
    exit "$STATUS"
fi
truncate -s "$SIZE" "$4"
"""


def run(tmp_path: Path, *words: str, **environment: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    seen = tmp_path / "seen"
    own = {"PYTHON": str(python), "SEEN": str(seen), "STATUS": "143", "SIZE": "1000", "RUN": str(tmp_path / "run")}
    done = subprocess.run(
        [TOOLS / "train_on_gpu.sh", *words], env=os.environ | own | environment, capture_output=True, text=True
    )
    return done, seen.read_text().splitlines() if seen.exists() else []


def test_training_goes_on_from_what_is_given_and_the_weights_come_back(tmp_path):
    out = tmp_path / "out"
    done, seen = run(tmp_path, "pictures", str(out), "last.safetensors", BATCH="96", STAGES="together", EXTRA="clip=2")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["log.csv", "train.log", "wren.safetensors"]
    words = " ".join(seen)
    for part in ("train wren-global --root pictures --weights last.safetensors --device cuda", "--resume", "batch=96",
                 "match.steps=0", "schedule=constant", "clip=2", "weights_of_run.py"):  # fmt: skip
        assert part in words
    # every --set is one that the preset knows
    changes = dict(word.split("=", 1) for before, word in itertools.pairwise(seen) if before == "--set")
    recipe = load_recipe("wren-global", changes)
    assert [stage.batch for stage in recipe.stages] == [96, 96]
    assert recipe.stages[-1].graph


def test_the_rate_of_the_last_stage_can_fall_to_the_end(tmp_path):
    _, seen = run(tmp_path, "pictures", str(tmp_path / "out"), STAGES="match together", COSINE="700", RATE="2e-3")
    changes = dict(word.split("=", 1) for before, word in itertools.pairwise(seen) if before == "--set")
    match, together = load_recipe("wren-global", changes).stages
    assert (match.schedule, together.schedule, together.steps) == ("constant", "cosine", 700)
    assert together.last_learning_rate == pytest.approx(2e-5)


def test_failures_are_passed_on(tmp_path):
    assert run(tmp_path, "pictures")[0].returncode == 2
    assert run(tmp_path, "pictures", str(tmp_path / "a"), STAGES="mach")[0].returncode == 2
    assert run(tmp_path, "pictures", str(tmp_path / "b"), STATUS="2")[0].returncode == 2
    assert not (tmp_path / "b" / "wren.safetensors").exists()
    done, _ = run(tmp_path, "pictures", str(tmp_path / "c"), SIZE="16000001")
    assert done.returncode == 1
    assert "over 16 MB" in done.stderr


@pytest.fixture
def training(tmp_path):
    """A folder with a checkpoint of `wren-global` after three steps."""
    recipe = load_recipe("wren-global")
    network = registry.build("wren", matching="global")
    weights = {name: torch.full_like(value, 0.5) for name, value in network.state_dict().items()}
    average = {name: torch.full_like(value, 0.25) for name, value in weights.items()}
    state.save_state(tmp_path, recipe, 3, {"stage": 0, "stage_step": 3, "network": weights, "average": average})
    return tmp_path


@pytest.mark.parametrize(("last", "value"), [(False, 0.25), (True, 0.5)])
def test_weights_of_a_run_are_those_of_its_checkpoint(training, last, value):
    file = training / "now.safetensors"
    assert tool.write(training, file, half=True, last=last) == 3
    network = load_weights("wren", file)
    assert network.settings == registry.build("wren", matching="global").settings  # decoder runs as inference has them
    assert all(float(parameter.detach().flatten()[0]) == value for parameter in network.parameters())


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        tool.write(tmp_path, tmp_path / "x.safetensors", half=False, last=False)
    (tmp_path / "checkpoint-000000001.pt").write_text(json.dumps({}))
    with pytest.raises(InputError):
        tool.write(tmp_path, tmp_path / "x.safetensors", half=False, last=False)
