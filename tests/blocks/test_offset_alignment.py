"""Alignment by offsets: both forms are one function, and a deformable convolution is N warps and a 1x1 convolution."""

import numpy as np
import pytest
import torch

from flowzoo.blocks.offset_alignment import (
    DeformableAlignment,
    FlowAlignment,
    OffsetAlignment,
    compose,
    decompose,
    flows_of_offsets,
    nearest_places,
    warp_each,
)
from flowzoo.blocks.padding import pad_reflected
from flowzoo.operators import deform, warp


@pytest.fixture(scope="module")
def reference(shared):
    arrays = np.load(shared / "parity" / "dcn-decomposition.npz")
    return {key: torch.tensor(arrays[key]) for key in arrays.files if arrays[key].dtype.kind == "f"}


@pytest.mark.parametrize("name", ["g1k1", "g1k3", "g2k1", "g2k3", "g8k1", "g8k3"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_deformable_convolution_is_warps_and_a_1x1_convolution(name, masked, reference):
    groups, kernel = int(name[1]), int(name[3])
    weight, bias = reference[f"{name}_weight"], reference[f"{name}_bias"]
    stack = warp_each(
        reference["x"],
        flows_of_offsets(reference[f"{name}_offset"], groups, kernel),
        reference[f"{name}_mask"] if masked else None,
    )
    found = torch.conv2d(stack, decompose(weight), bias if masked else None)
    assert (found - reference[f"{name}_output{'' if masked else '_plain'}"]).abs().max() < 2e-5
    assert torch.equal(compose(decompose(weight), weight.shape[1], kernel), weight)


def test_flows_warps_and_1x1_weights_of_the_reference(reference):
    flows = flows_of_offsets(reference["g2k3_offset"], 2, 3)
    assert (flows - reference["g2k3_flow"]).abs().max() < 1e-6
    stack = warp_each(reference["x"], flows, None)
    assert (stack.view(2, 9, 16, 9, 11) - reference["g2k3_warped"]).abs().max() < 2e-5
    assert torch.equal(decompose(reference["g2k3_weight"]).flatten(1), reference["g2k3_weight_1x1"])


def test_a_number_of_offsets_that_is_no_square(reference):
    flows, mask = reference["n5g2_flow"], reference["n5g2_mask"].flatten(1, 2)
    weight = reference["n5g2_weight_1x1"][:, :, None, None]
    stacked = torch.conv2d(warp_each(reference["x"], flows, mask), weight, reference["n5g2_bias"])
    free = compose(weight, 16, None)
    assert free.shape == (12, 16, 5)
    assert torch.equal(decompose(free), weight)
    direct = deform(reference["x"], flows.flip(3).flatten(1, 3), free, reference["n5g2_bias"], mask)
    for found in (stacked, direct):
        assert (found - reference["n5g2_output"]).abs().max() < 2e-5


@pytest.mark.parametrize("offsets", [1, 4, 5, 9, 25])
@pytest.mark.parametrize("modulated", [True, False])
def test_both_forms_have_the_same_parameters_and_results(offsets, modulated):
    options = {"groups": 2, "offsets": offsets, "modulated": modulated}
    first, second = DeformableAlignment(8, 6, 10, **options), OffsetAlignment(8, 6, 10, **options)
    second.load_state_dict(first.state_dict())
    for part in (first, second):
        torch.manual_seed(1)
        torch.nn.init.normal_(part.conv_offset.weight, std=0.3)
    features, hidden, flow = torch.rand(2, 8, 7, 9), torch.rand(2, 10, 7, 9), torch.randn(2, 2, 7, 9) * 2
    one, two = first(features, hidden, flow), second(features, hidden, flow)
    assert one.features.shape == (2, 6, 7, 9)
    assert one.offset.shape == (2, 2 * 2 * offsets, 7, 9)
    assert (one.mask is not None) == modulated
    assert torch.equal(one.offset, two.offset)
    assert (one.features - two.features).abs().max() < 1e-5


def test_at_the_start_offsets_are_taps_or_spread_places():
    hidden = torch.rand(1, 4, 5, 6)
    square, free = DeformableAlignment(4, 4, 4, groups=2), DeformableAlignment(4, 4, 4, groups=2, offsets=5)
    assert (square.predict(hidden, None)[0] == 0).all()
    assert (square.predict(hidden, None)[1] == 0.5).all()
    places = free.predict(hidden, None)[0].view(2, 5, 2, 5, 6)[:, :, :, 0, 0]
    assert {tuple(place) for place in places[0].tolist()} == {(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)}
    assert torch.equal(places[0], places[1])
    assert len(set(map(tuple, nearest_places(15).tolist()))) == 15


def test_with_one_offset_and_identity_weights_it_is_the_warp_by_the_flow():
    features, flow = torch.rand(1, 4, 8, 7), torch.randn(1, 2, 8, 7) * 2
    part = DeformableAlignment(4, 4, 4, groups=1, offsets=1, modulated=False)
    with torch.no_grad():
        part.weight.copy_(torch.eye(4)[:, :, None, None])
    found = part(features, torch.rand(1, 4, 8, 7), flow)
    assert (found.features - warp(features, flow)).abs().max() < 1e-5
    assert torch.equal(found.offset, flow.flip(1))
    assert torch.equal(FlowAlignment()(features, flow).features, warp(features, flow))


def test_residuals_to_the_flow_stay_within_their_limit():
    part = DeformableAlignment(4, 4, 4, groups=1, offsets=5, limit=3.0)
    torch.nn.init.normal_(part.conv_offset.weight, std=50)
    flow = torch.full((1, 2, 6, 6), 100.0)
    offset = part(torch.rand(1, 4, 6, 6), torch.rand(1, 4, 6, 6), flow).offset
    assert (offset - 100).abs().max() <= 3.0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 8), (7, 1)])
def test_padding_reflects_without_repeating_the_border(size):
    maps = torch.rand(2, 3, *size)
    padded = pad_reflected(maps, 4)
    assert padded.shape[-2:] == tuple(-(-side // 4) * 4 for side in size)
    wanted = np.pad(maps.numpy(), [(0, 0), (0, 0), *((0, -side % 4) for side in size)], mode="reflect")
    assert np.array_equal(padded.numpy(), wanted)
