"""The table of exported files beside their networks, for one small network and a photographed pair."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import flowzoo

TOOL = Path(__file__).parents[2] / "tools" / "check_export.py"


def test_a_row_says_how_far_file_and_network_are_from_float64(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra export: pip install 'flowzoo[export]'")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    for number in (0, 1):
        Image.fromarray(np.roll(pixels, number, axis=1)).resize((128, 96)).save(tmp_path / f"{number}.png")
    flowzoo.create("spynet").save_pretrained(tmp_path / "weights")
    (weights,) = (tmp_path / "weights").glob("*.safetensors")
    command = [sys.executable, str(TOOL), "spynet", "--forms", "static", "--flow", "5", "--weights", str(weights)]
    command += ["--pair", str(tmp_path / "0.png"), str(tmp_path / "1.png")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split("|")]
    assert cells[:2] == ["`spynet`", "static"]
    difference, beyond, *distances, longest = [float(cell) for cell in cells[2:8]]
    assert all(0 < distance < 1e-4 for distance in (difference, *distances))
    assert beyond == 0
    assert 0 < longest <= 6  # of the pair at 128x192; here it is smaller
