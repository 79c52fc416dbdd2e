"""BaseNet against reference outputs, and the rows of the ablation study."""

import numpy as np
import pytest
import torch
from reference_outputs import image_pair, load

import flowzoo
from flowzoo import registry

GOCOR = {"global_matching": "gocor"}
ROWS = {
    "I": ({}, 11_460_346, 177),
    "II": ({"global_matching": "consensus"}, 11_470_087, 183),
    "III": (GOCOR | {"gocor_objective": "linear", "gocor_query_loss": False}, 11_461_402, 184),
    "IV": (GOCOR | {"gocor_query_loss": False}, 11_461_402, 184),
    "V": (GOCOR, 11_463_850, 186),
    "VI": (GOCOR | {"local_matching": "gocor"}, 11_463_883, 192),
}


@pytest.mark.parametrize("name", ["basenet-gocor", "basenet-gocor-odd"])
def test_flow_is_the_references(shared, name):
    arrays, state = load(shared, name)
    network = registry.build("basenet-gocor")
    network.load_state_dict(flowzoo.import_checkpoint("basenet-gocor", state))
    with torch.inference_mode():
        prediction = network.eval()(*image_pair(arrays))
    assert np.abs(prediction.flow[0].numpy() - arrays["flow"]).max() < 5e-3
    for level, key in enumerate(("flow4_256", "flow3_256", "flow2_256")):
        if key in arrays:
            wanted = arrays[key] * np.array([1, 192 / 256]).reshape(2, 1, 1)
            assert np.abs(prediction.pyramid[level][0].numpy() - wanted).max() < 5e-3


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_ablation_study(row):
    settings, parameters, entries = ROWS[row]
    network = registry.build("basenet", **settings)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert len(network.state_dict()) == entries
    prediction = network.train()(*torch.rand(2, 2, 3, 64, 64))
    sum(level.abs().mean() for level in prediction.pyramid).backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_images_of_two_sizes():
    network = flowzoo.create("basenet-gocor", gocor_local_iterations=1)
    with torch.inference_mode():
        flow = network(torch.rand(1, 3, 30, 40), torch.rand(1, 3, 64, 20)).flow
    assert flow.shape == (1, 2, 30, 40)
    assert torch.isfinite(flow).all()
