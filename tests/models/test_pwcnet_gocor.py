"""PWC-Net-GOCor against reference outputs; GOCor as the cost volume of other networks."""

import numpy as np
import pytest
import torch
from reference_outputs import image_pair, load

import flowzoo
from flowzoo import registry
from flowzoo.blocks.strips import strip_pixels
from flowzoo.errors import InputError


@pytest.mark.parametrize("name", ["pwcnet-gocor", "pwcnet-gocor-odd"])
def test_flow_is_the_references(shared, name):
    arrays, state = load(shared, name)
    network = registry.build("pwcnet-gocor")
    network.load_state_dict(flowzoo.import_checkpoint("pwcnet-gocor", state))
    with torch.inference_mode():
        prediction = network.eval()(*image_pair(arrays))
    assert np.abs(prediction.flow[0].numpy() - arrays["flow"]).max() < 2e-3
    for index, level in enumerate((6, 5, 4, 3, 2)):
        if f"flow{level}_over_20" in arrays:
            found = prediction.pyramid[index][0].numpy() / 20
            assert np.abs(found - arrays[f"flow{level}_over_20"]).max() < 1e-4


def test_fine_tuning_starts_from_a_plain_pwcnet(shared):
    _, state = load(shared, "pwcnet")
    filled = flowzoo.import_checkpoint("pwcnet-gocor", state)
    fresh = registry.build("pwcnet-gocor").state_dict()
    modules = [name for name in filled if ".matcher." in name]
    assert len(modules) == 30
    assert all(torch.equal(filled[name], fresh[name]) for name in modules)
    assert torch.equal(filled["levels.3.flow.weight"], state["predict_flow3.weight"])


def test_half_a_file_is_refused(shared):
    _, state = load(shared, "pwcnet-gocor")
    state = {name: value for name, value in state.items() if not name.startswith("local_corr_4.")}
    with pytest.raises(InputError, match="missing"):
        flowzoo.import_checkpoint("pwcnet-gocor", state)


@pytest.mark.parametrize("name", ["liteflownet2", "hd3"])
def test_gocor_in_other_networks(name):
    network = registry.build(name, cost_volume="gocor")
    prediction = network(*torch.rand(2, 1, 3, 64, 64))
    loss = prediction.flow.abs().mean() + sum(level.abs().mean() for level in prediction.pyramid)
    loss.backward()
    scalars = {key: value for key, value in network.named_parameters() if ".matcher." in key}
    assert scalars
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in scalars.values())
    with torch.inference_mode():
        assert torch.isfinite(network.eval()(*torch.rand(2, 1, 3, 33, 50)).flow).all()


def test_negative_iterations_are_refused():
    with pytest.raises(InputError, match="gocor_iterations"):
        flowzoo.create("pwcnet-gocor", gocor_iterations=-1)


def test_strips_of_rows_give_the_same_flow():
    network = flowzoo.create("pwcnet-gocor").double()
    images = torch.rand(2, 1, 3, 200, 90, dtype=torch.float64)
    with torch.inference_mode():
        whole = network(*images).flow
        with strip_pixels(600):
            found = network(*images).flow
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=1e-5)
