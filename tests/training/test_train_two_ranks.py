"""Every network of the zoo and every family of presets: three steps on two ranks are three steps of one process.

One test, since all of them share one pair of processes. It takes minutes of two processes, so without being asked it
takes the few of `ALWAYS`; `FLOWZOO_TWO_RANKS=1` takes all, `FLOWZOO_EVERY_PRESET=1` besides every stage of flow that
differs in its network or loss.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from rank_recipes import MATCHING, flow_stages, make_data, networks, video_stages

from flowzoo import registry
from flowzoo.training.recipe import load_recipe

LIMITS = {"loss": 1e-4, "buffers": 1e-4, "gradient_norm": 2e-2, "gradient": 2e-2, "weights": 5e-2}
"""A random matching network's gradient is large and of both signs; correspondence-wise losses jump where flow does."""
TIGHT = LIMITS | {"gradient": 1e-3, "weights": 2e-3}
"""For those of `ALWAYS`."""
LONGEST = 900 if "FLOWZOO_TWO_RANKS" not in os.environ else 3600
ALWAYS = ("pwcnet", "liteflownet2", "spynet")
"""Parameters without a gradient, buffers that share memory, and a network that is neither."""


def names() -> list[str]:
    """What is compared."""
    if "FLOWZOO_TWO_RANKS" in os.environ:
        return [*networks(), *video_stages(), *flow_stages(everything="FLOWZOO_EVERY_PRESET" in os.environ)]
    one_each = {model_of(name): name for name in video_stages()}
    return [*(name for name in networks() if not matches(name)), *sorted(one_each.values())]


def model_of(name: str) -> str:
    """The network of a name of `rank_recipes`."""
    return load_recipe(name.partition(":")[0]).model if ":" in name else name


def matches(name: str) -> bool:
    """Whether a network works at 256x256 inside, whatever the crop."""
    return registry.card(name).build.endswith(MATCHING)


def faults(name: str, found: dict[str, float] | str) -> list[str]:
    """What is wrong with one comparison."""
    if isinstance(found, str):
        return [f"{name}: {found}"]
    limits = TIGHT if name in ALWAYS else LIMITS
    wrong = [f"{name}: {key} {found[key]:.2g}" for key, limit in limits.items() if not found[key] < limit]
    if found["steps"] != 3 or not found["moved"] > 0:
        wrong.append(f"{name}: {found['steps']} steps, moved by {found['moved']}")
    return wrong


def test_no_network_is_forgotten() -> None:
    assert {model_of(name) for name in names()} >= {name for name in registry.list_models() if not matches(name)}
    assert {model_of(name) for name in [*networks(), *video_stages()]} == set(registry.list_models())


def test_two_ranks_are_one_process(tmp_path: Path) -> None:
    compared = names() if "FLOWZOO_TWO_RANKS" in os.environ else ALWAYS
    result = tmp_path / "result.json"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    script = [str(Path(__file__).with_name("two_ranks.py")), str(make_data(tmp_path / "data")), str(result), *compared]
    with subprocess.Popen(
        [*launcher, *script],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said = process.communicate(timeout=LONGEST)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, said[-5000:]
    found = json.loads(result.read_text())
    assert set(found) == set(compared)
    assert not [fault for name, entry in found.items() for fault in faults(name, entry)]
