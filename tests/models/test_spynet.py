"""SPyNet against the references' flow, with both rules for its levels."""

import re

import numpy as np
import pytest
import reference_outputs as references
import torch

import flowzoo
from flowzoo.blocks.strips import strip_pixels
from flowzoo.errors import InputError


def flow_of(network: torch.nn.Module, frames: np.ndarray) -> np.ndarray:
    first, second = torch.from_numpy(frames).permute(0, 3, 1, 2)[:, None].float() / 255
    with torch.inference_mode():
        return network(first, second).flow[0].numpy()


@pytest.mark.parametrize(("reference", "levels"), [("spynet", "six"), ("spynet-sniklaus", "adaptive")])
def test_flow_is_the_references(shared, reference, levels):
    arrays, state = references.load(shared, reference)
    network = flowzoo.create("spynet", levels=levels)
    network.load_state_dict(flowzoo.import_checkpoint("spynet", state))
    for index in (0, 1):
        difference = np.abs(flow_of(network, arrays[f"frames{index}"]) - arrays[f"flow{index}"])
        assert difference.max() < 1e-3


def test_the_rules_differ_for_small_images_only(shared):
    arrays, state = references.load(shared, "spynet-sniklaus")
    networks = [flowzoo.create("spynet", levels=levels) for levels in ("six", "adaptive")]
    for network in networks:
        network.load_state_dict(flowzoo.import_checkpoint("spynet", state))
    small, wide = arrays["frames0"], arrays["frames1"]
    assert np.abs(flow_of(networks[0], small) - flow_of(networks[1], small)).max() > 0.1
    assert np.array_equal(flow_of(networks[0], wide), flow_of(networks[1], wide))
    for frames, count in ((small, arrays["levels0"]), (wide, arrays["levels1"])):
        images = torch.from_numpy(frames).permute(0, 3, 1, 2)[:, None].float() / 255
        assert len(networks[1](*images).pyramid) == count
        assert len(networks[0](*images).pyramid) == 6


def test_all_publishers_names_give_the_same_weights(shared):
    _, state = references.load(shared, "spynet")
    wanted = flowzoo.import_checkpoint("spynet", state)
    pattern = re.compile(r"basic_module\.(\d)\.basic_module\.(\d)\.(\w+)")
    mean_and_deviation = {"mean": torch.zeros(1, 3, 1, 1), "std": torch.ones(1, 3, 1, 1)}
    mmagic = {
        pattern.sub(lambda m: f"basic_module.{m[1]}.basic_module.{int(m[2]) // 2}.conv.{m[3]}", k): v
        for k, v in state.items()
    }
    others = [
        {pattern.sub(r"moduleBasic.\1.moduleBasic.\2.\3", key): value for key, value in state.items()},
        {pattern.sub(r"netBasic.\1.netBasic.\2.\3", key): value for key, value in state.items()},
        mmagic,
        mmagic | mean_and_deviation,
        {"params": state | mean_and_deviation},
        {f"spynet.{key}": value for key, value in state.items()},
        wanted,
    ]
    for theirs in others:
        found = flowzoo.import_checkpoint("spynet", theirs)
        assert list(found) == list(wanted)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    with pytest.raises(InputError, match=r"1 missing \(basic_module.5.basic_module.8.bias\)"):
        flowzoo.import_checkpoint("spynet", {k: v for k, v in state.items() if "5.basic_module.8.bias" not in k})


def test_pyramid_is_in_pixels_of_the_image():
    network = flowzoo.create("spynet")
    with torch.inference_mode():
        prediction = network(*torch.rand(2, 1, 3, 64, 96))
        inside = [layer[-1] for layer in network.levels]
        for last in inside:
            last.weight.zero_()
            last.bias.zero_()
        inside[2].bias.copy_(torch.tensor([1.0, -2.0]))
        constant = network(*torch.rand(2, 1, 3, 64, 96))
    assert [tuple(flow.shape[2:]) for flow in prediction.pyramid] == [(2 * 2**k, 3 * 2**k) for k in range(6)]
    # One pixel of the third level is eight of the image; finer levels keep it.
    wanted = torch.tensor([8.0, -16.0]).view(1, 2, 1, 1)
    assert all(torch.allclose(flow, wanted.expand_as(flow)) for flow in constant.pyramid[2:])
    assert not any(flow.any() for flow in constant.pyramid[:2])


def test_strips_give_the_same_flow():
    network = flowzoo.create("spynet").double()
    images = torch.rand(2, 1, 3, 150, 70, dtype=torch.float64)
    with torch.inference_mode():
        whole = network(*images).flow
        with strip_pixels(600):
            found = network(*images).flow
    assert whole.abs().max() > 0.1
    torch.testing.assert_close(found, whole, atol=1e-9, rtol=1e-9)
