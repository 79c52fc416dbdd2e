"""The ablation's own arithmetic, on a few random pairs."""

import importlib.util
import json
import math
import statistics
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from flowzoo import registry

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "ablate_pyramid_level.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("ablate_pyramid_level", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tool):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 6, 3, 64, 64), dtype=torch.uint8)
    return tool.Data(*images, torch.randn(6, 2, 64, 64).half(), torch.rand(6, 64, 64) < 0.8)


def test_a_mirrored_batch_has_mirrored_flow(tool, data):
    index = torch.tensor([1, 4])
    plain, mirrored = data.take(index), data.take(index, flipped=True)
    assert torch.equal(mirrored[0], plain[0].flip(-1))
    assert torch.equal(mirrored[2][:, 0], -plain[2][:, 0].flip(-1))
    assert torch.equal(mirrored[2][:, 1], plain[2][:, 1].flip(-1))


def test_agreement_is_the_correlation_of_own_and_remaining_gradient(tool, data):
    batch = data.take(torch.arange(2))

    def gradients(stopped):
        """Of the whole loss for every level's flow: with stopping, only the level's own loss is left of it."""
        torch.manual_seed(1)
        network = registry.build("wren", **tool.NETWORK | {"stop_flow_gradient": stopped})
        flows = []
        network.decoder.register_forward_hook(lambda _, inputs, outputs: flows.append(outputs[0]))
        parts = tool.loss_of(1.0).pixel_losses(network(*batch[:2]), *batch[2:])
        return network, torch.autograd.grad(sum(weight * part.values.mean() for weight, part in parts), flows)

    (_, own), (network, whole) = gradients(True), gradients(False)
    found = tool.agreement(network, batch)
    assert len(found) == 4
    for index, correlation in enumerate(found):
        one, rest = own[index].flatten(), (whole[index] - own[index]).flatten()
        expected = float(one @ rest / (one.norm() * rest.norm()))
        assert correlation == pytest.approx(expected, abs=1e-3)
        assert abs(expected) > 0.01


@pytest.mark.parametrize("variant", ["baseline", "+ loss max-pooling"])
def test_a_run_and_its_report(tool, data, variant, tmp_path):
    plan = tool.Plan(steps=2, batch=2, pairs=4, held_out=2, height=64, width=64, every=1)
    one, other = (tool.train(plan, variant, seed, data) for seed in (0, 1))
    assert one["step"] == [1, 2]
    assert tool.train(plan, variant, 0, data)["held_out"] == one["held_out"] != other["held_out"]
    assert len(one["agreement"]) == (2 if variant == "baseline" else 0)
    runs = {"baseline": [one | {"agreement": [[0.5, -0.5, 0, 1]]}, other | {"agreement": []}], variant: [one, other]}
    if variant == "baseline":
        runs = {"baseline": [one, other]}
    text = tool.table(plan, runs)
    ends = [run["held_out"][-1] for run in (one, other)]
    assert f"{statistics.fmean(ends):.3f} ± {statistics.stdev(ends):.3f}" in text
    root = ElementTree.fromstring(tool.curves(runs))
    assert len(root.findall("{*}polyline")) == len(runs)
    for variant_runs, line in zip(runs.values(), root.findall("{*}polyline"), strict=True):
        heights = [float(point.split(",")[1]) for point in line.get("points").split()]
        means = [statistics.fmean(r["held_out"][i] for r in variant_runs) for i in range(2)]
        # Larger errors are drawn higher up.
        assert (heights[0] <= heights[1]) if means[0] > means[1] else (heights[0] >= heights[1])
        assert not any(map(math.isnan, heights))


def test_results_of_another_plan_are_not_used(tool, tmp_path):
    path = tool.run_path(tmp_path, "+ SAD", 2)
    assert path.name == "SAD-2.json"
    plan = tool.Plan(steps=7)
    assert tool.load_run(path, plan) is None
    path.parent.mkdir()
    path.write_text(json.dumps({"plan": tool.asdict(plan), "held_out": [1.0]}))
    assert tool.load_run(path, plan)["held_out"] == [1.0]
    assert tool.load_run(path, tool.Plan(steps=8)) is None


def test_the_documents_place_is_filled(tool, tmp_path):
    document = tmp_path / "page.md"
    document.write_text(f"before\n{tool.START}\nold\n{tool.END}\nafter\n")
    tool.fill_in(document, "new\n")
    assert document.read_text() == f"before\n{tool.START}\nnew\n{tool.END}\nafter\n"
    (tmp_path / "other.md").write_text("no place")
    with pytest.raises(SystemExit):
        tool.fill_in(tmp_path / "other.md", "new\n")
