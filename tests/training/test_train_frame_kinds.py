"""Every kind of preset that makes frames learns, and goes on where it was, bit for bit; see `frame_kinds`.

The cheap ones always; `FLOWZOO_EVERY_PRESET=1` takes all of them (minutes), and kills runs in processes of their own.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import frame_kinds
import numpy as np
import pytest

EVERY = "FLOWZOO_EVERY_PRESET" in os.environ
CHEAP = (
    "predictor 3 l2",
    "predictor 3 l1 homography",
    "svg-prime 5 l2 by correspondences",
)
KINDS = frame_kinds.kinds()
JUMPS = "predictor 3 l1+perceptual by correspondences magnitude edge-1"
"""Its loss is two to four times as high at every step at which wren finds no flow in a blurred image."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return frame_kinds.make_data(tmp_path_factory.mktemp("data"))


def test_kinds_are_those_of_the_paper() -> None:
    assert set(CHEAP) < set(KINDS)
    found = {word for kind in KINDS for word in kind.split()}
    assert found >= {"predictor", "svg", "svg-prime", "flavr", "affine", "homography", "magnitude", "l1+perceptual"}


@pytest.mark.parametrize("kind", list(KINDS) if EVERY else CHEAP)
def test_a_kind_falls_and_resumes_bit_for_bit(kind: str, data: Path, tmp_path: Path) -> None:
    recipe = frame_kinds.small(KINDS[kind])
    half = recipe.stages[-1].steps // 2
    recipe = frame_kinds.small(KINDS[kind], save_every=str(half))
    whole = frame_kinds.run(recipe, data, tmp_path / "whole")
    losses = frame_kinds.losses_of(tmp_path / "whole")
    few = max(3, len(losses) // 4)
    assert np.mean(losses[-few:]) < 0.98 * np.mean(losses[:few]) or kind == JUMPS
    first, last = sorted((tmp_path / "whole").glob("checkpoint-*.pt"))
    expected = whole.file.read_bytes()
    (tmp_path / "cut").mkdir()
    for file in (tmp_path / "whole").iterdir():
        if file.is_file() and file not in (last, whole.file):
            shutil.copy(file, tmp_path / "cut")
    assert str(half) in first.name
    again = frame_kinds.run(recipe, data, tmp_path / "cut", resume=True)
    assert again.file.read_bytes() == expected
    shutil.rmtree(tmp_path / "whole")  # checkpoints of FLAVR have half a gigabyte
    print(f"{kind}: {np.mean(losses[:few]):.4f} -> {np.mean(losses[-few:]):.4f}, {len(losses)} steps")


@pytest.mark.skipif(not EVERY, reason="takes minutes: set FLOWZOO_EVERY_PRESET=1")
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_killed_run_ends_with_the_same_bytes(kind: str, data: Path, tmp_path: Path) -> None:
    """Killed -9 at a random moment while it trains."""
    script = [sys.executable, frame_kinds.__file__, kind, str(data)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    begin = time.monotonic()
    with subprocess.Popen([*script, str(tmp_path / "whole")], env=environment) as process:
        while not (tmp_path / "whole").exists() and process.poll() is None:
            time.sleep(0.01)
        begin = time.monotonic()
    length = time.monotonic() - begin
    assert process.returncode == 0
    (result,) = (tmp_path / "whole").glob("*.safetensors")
    expected = result.read_bytes()
    shutil.rmtree(tmp_path / "whole")
    with subprocess.Popen([*script, str(tmp_path / "cut")], env=environment) as process:
        while not (tmp_path / "cut").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.Random(kind).uniform(0, 0.8 * length))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was faster than its moment"
    found = len(list((tmp_path / "cut").glob("checkpoint-*.pt")))
    subprocess.run([*script, str(tmp_path / "cut"), "--resume"], env=environment, check=True)
    assert (tmp_path / "cut" / result.name).read_bytes() == expected
    shutil.rmtree(tmp_path / "cut")
    print(f"{kind}: {found} checkpoints were there")
