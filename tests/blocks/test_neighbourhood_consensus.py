"""Mutual matching and neighbourhood consensus against reference outputs and plain loops."""

import itertools

import numpy as np
import torch
from reference_outputs import load

from flowzoo.blocks.neighbourhood_consensus import Conv4d, NeighbourhoodConsensus, mutual_matching


def close(found, wanted):
    wanted = torch.as_tensor(wanted)
    return (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def matched(volume):
    batch, _, *sides = volume.shape
    return mutual_matching(volume.reshape(batch, -1, *sides[2:])).view(volume.shape)


def test_every_stage_is_the_references(shared):
    arrays, state = load(shared, "ncnet-consensus")
    network = NeighbourhoodConsensus()
    ours = {
        "NeighConsensus.conv.0": "layers.0",
        "NeighConsensus.conv.2": "layers.1",
        "NeighConsensus.conv.4": "layers.2",
    }
    network.load_state_dict({f"{ours[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": v for key, v in state.items()})
    with torch.no_grad():
        first = torch.from_numpy(arrays["mutual_1"])
        assert close(matched(torch.from_numpy(arrays["correlation"])), arrays["mutual_1"])
        assert close(network.one_way(first), arrays["consensus_one_way"])
        assert close(network(first), arrays["consensus"])
        assert close(matched(network(first)), arrays["mutual_2"])
    assert sum(p.numel() for p in network.parameters()) == 9741


def test_conv4d_is_the_sum_over_its_window():
    layer = Conv4d(2, 3)
    volume = torch.randn(1, 2, 3, 4, 2, 3)
    padded = np.pad(volume.numpy(), [(0, 0), (0, 0)] + [(1, 1)] * 4)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    found = layer(volume).detach().numpy()
    for place in itertools.product(range(3), range(4), range(2), range(3)):
        window = padded[(0, slice(None), *(slice(p, p + 3) for p in place))]
        wanted = np.einsum("aoibcd,iabcd->o", weight, window) + bias
        np.testing.assert_allclose(found[(0, slice(None), *place)], wanted, rtol=1e-4, atol=1e-5)


def test_consensus_does_not_care_which_image_is_first():
    network = NeighbourhoodConsensus()
    volume = torch.rand(1, 1, 3, 4, 2, 5)
    swapped = network(volume.permute(0, 1, 4, 5, 2, 3)).permute(0, 1, 4, 5, 2, 3)
    assert torch.allclose(network(volume), swapped, atol=1e-6)


def test_mutual_matching_keeps_mutual_best_scores_and_lowers_all_others():
    volume = torch.tensor([[0.9, 0.2], [0.8, 0.4]]).view(1, 2, 1, 2)
    found = mutual_matching(volume).view(2, 2)
    best = torch.tensor([[0.9, 0.2 * 0.2 / 0.4 * 0.2 / 0.9], [0.8 * 0.8 / 0.9, 0.4 * 0.4 / 0.8]])
    assert torch.allclose(found, best, rtol=1e-4)
