"""Every network of the zoo and every family of presets: three steps on two ranks are three steps of one process.

It takes minutes of two processes, so it is asked for: `FLOWZOO_TWO_RANKS=1`. `FLOWZOO_EVERY_PRESET=1` besides takes
every stage of every preset that differs in its network or loss. `test_train_loop` has one network on two ranks always.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowzoo import registry
from flowzoo.training.recipe import list_presets, load_recipe

MATCHING = (":GLUNet", ":BaseNet")
pytestmark = pytest.mark.skipif("FLOWZOO_TWO_RANKS" not in os.environ, reason="takes minutes: set FLOWZOO_TWO_RANKS=1")


def stages() -> list[str]:
    """One stage of every network and kind of data and loss that presets have, the coarsest level's, too.

    Of the matching networks, which work at 256x256 inside, the network alone has to do.
    """
    found, everything = {}, "FLOWZOO_EVERY_PRESET" in os.environ
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


NAMES = [*registry.list_models(task="flow"), *stages()]


@pytest.fixture(scope="module")
def compared(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float] | str]:
    """All of them, one after the other, in one pair of processes."""
    result = tmp_path_factory.mktemp("ranks") / "result.json"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    script = [str(Path(__file__).with_name("two_ranks.py")), str(samples), str(result), *NAMES]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, *script], env=environment, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(result.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_are_one_process(name: str, compared: dict[str, dict[str, float] | str]) -> None:
    found = compared[name]
    assert isinstance(found, dict), found
    assert found["steps"] == 3
    assert found["moved"] > 0
    assert found["loss"] < 1e-4
    assert found["epe"] < 1e-4
    # A random matching network's gradient is large and of both signs; Adam makes full steps where it is rounding alone.
    assert found["gradient_norm"] < 2e-2
    assert found["weights"] < 2e-2
    assert found["buffers"] < 1e-4
