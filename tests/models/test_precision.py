"""Networks in other types than float32: flow stays float32 or better wherever it is carried."""

import copy
import platform

import pytest
import torch

import flowzoo
from flowzoo import registry
from flowzoo.files.images import read_image
from flowzoo.inference.estimator import Estimator
from flowzoo.operators.native import processor_features

NAMES = flowzoo.list_models(task="flow")
TOLERANCES = {torch.float16: 0.02, torch.bfloat16: 0.1, torch.float64: 1e-4}
SLOW = ("basenet", "basenet-gocor", "glunet")
"""Networks whose parts others have, too; float16 takes seconds on a processor that has no such numbers."""
ON_HALVES = ("glunet-gocor", "semantic-glunet", "spynet")
"""Those that have them, and large windows; on such a processor float16 takes them a quarter of a minute to minutes."""
EXACT = {"raft": 1, "raft-small": 1, "spynet": 5, "wren": 6}
"""Of the flows that a network infers one after the other: how many come before autocast has a part in them."""


def pair(dtype=torch.float32, size=(64, 128)):
    """Sides that no network resizes, so that no factor hides a rounded flow."""
    return torch.rand(2, 1, 3, *size, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.fixture(scope="module")
def networks():
    """Name -> the network, built once, with heads that say something: fresh ones start near zero flow."""
    built = {}

    def get(name):
        if name not in built:
            torch.manual_seed(2)
            network = registry.build(name, **({"refinement": "none"} if name == "wren" else {}))
            if name == "wren":
                torch.nn.init.normal_(network.decoder.flow_head.weight, std=0.05)
            if name.startswith("hd3"):
                for layer in network.modules():
                    if isinstance(layer, torch.nn.Conv2d):
                        torch.nn.init.kaiming_normal_(layer.weight, a=1)
            built[name] = network
        return built[name]

    return get


def share_on_the_grid(flow):
    """Of the numbers that bfloat16 has, among all that are not 0."""
    values = flow[flow != 0].float()
    return float((values == values.bfloat16().float()).double().mean())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_flow_is_not_rounded_to_bfloat16_under_autocast(name, training, networks):
    network = networks(name).train(training)
    with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16):
        prediction = network(*pair())
    for flow in (prediction.flow, *prediction.pyramid):
        assert flow.dtype == torch.float32
        assert share_on_the_grid(flow) < 0.05


@pytest.mark.parametrize("name", EXACT)
def test_what_decides_matches_stays_float32_under_autocast(name, networks):
    network = networks(name).eval()
    with torch.inference_mode():
        exact = network(*pair())
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(*pair())
    found = [torch.equal(*flows) for flows in zip(exact.pyramid, rough.pyramid, strict=True)]
    count = EXACT[name]
    assert found == [True] * count + [False] * (len(found) - count)
    assert torch.equal(exact.flow, rough.flow) == (count == len(found))


@pytest.mark.parametrize("name", EXACT)
def test_training_uses_the_half_type_throughout(name, networks):
    network = networks(name).train()
    with torch.no_grad():
        exact = network(*pair())
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(*pair())
    assert not any(torch.equal(*flows) for flows in zip(exact.pyramid, rough.pyramid, strict=True))


def multiplies_float16():
    return platform.machine() in ("aarch64", "arm64") or "avx512_fp16" in processor_features()


@pytest.mark.parametrize("name", NAMES)
def test_every_network_runs_in_every_type(name, networks):
    network = networks(name).eval()
    with torch.inference_mode():
        single = network(*pair()).flow
        scale = 1 + single.abs().median()
        for dtype, tolerance in TOLERANCES.items():
            if dtype == torch.float16 and (name in SLOW or (name in ON_HALVES and not multiplies_float16())):
                continue
            flow = copy.deepcopy(network).to(dtype)(*pair(dtype)).flow
            assert flow.dtype == torch.promote_types(dtype, torch.float32)
            assert share_on_the_grid(flow) < 0.05
            # The median: a hard choice (HD3's windows) may fall elsewhere.
            assert (flow - single).abs().median() < tolerance * scale


@pytest.mark.parametrize(
    "frames",
    [
        "KITTI/2015/training/image_2/000000_{}.png",
        "MPI-Sintel/training/final/ambush_4/frame_{}.png",
        "Middlebury/other-data/RubberWhale/frame{}.png",
    ],
)
def test_bfloat16_chooses_the_matches_of_float32(frames, shared):
    """Pairs with large motion and places that look alike, and an easy one; the weights that ship."""
    numbers = ("0006", "0007") if "ambush" in frames else ("10", "11")
    pair = [read_image(shared / "data" / frames.format(number)) for number in numbers]
    network = flowzoo.create("wren", "wren")
    exact, rough = (Estimator(network, dtype)(*pair).flow for dtype in (torch.float32, torch.bfloat16))
    distance = torch.from_numpy(rough - exact).norm(dim=2)
    assert 0 < distance.mean() < 0.05
