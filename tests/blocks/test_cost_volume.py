"""Every kind of cost volume that the settings know keeps what its interface says; networks share one list of them."""

import typing
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import flowzoo
from flowzoo import registry
from flowzoo.blocks.cost_volume import CostVolume, make_cost_volume
from flowzoo.checkpoints import load_weights, save_weights
from flowzoo.checkpoints.formats import native
from flowzoo.errors import InputError
from flowzoo.settings import field_types
from flowzoo.zoo.shared import COST_VOLUMES, PyramidSettings

PYRAMIDS = [name for name, card in registry.cards().items() if isinstance(card.settings, PyramidSettings)]


def volume(kind, **arguments):
    return make_cost_volume(PyramidSettings(cost_volume=kind, cost_range=2), 24, **arguments).double().eval()


@pytest.mark.parametrize("kind", COST_VOLUMES)
@pytest.mark.parametrize("step", [1, 2])
def test_costs_are_those_of_the_aligned_features_at_the_flow(kind, step):
    torch.manual_seed(1)
    costs = volume(kind, step=step)
    assert isinstance(costs, CostVolume)
    first = F.normalize(torch.randn(2, 24, 9, 12, dtype=torch.float64), dim=1)
    # The second image is the first one, moved by (3,1): with that flow the match is where nothing is left over.
    second = first.roll((1, 3), (2, 3))
    flow = torch.tensor([3.0, 1.0], dtype=torch.float64).view(1, 2, 1, 1).expand(2, 2, 9, 12)
    with torch.no_grad():
        found = costs(first, second, flow)
        again = costs.measure(first, costs.align(second, flow), flow)
    assert found.shape == (2, costs.outputs, -(-9 // step), -(-12 // step))
    assert torch.equal(found, again)
    inside = found[..., 2 // step : 6 // step, 2 // step : 8 // step]
    best = inside.argmin(1) if costs.low_is_good else inside.argmax(1)
    assert (best == costs.outputs // 2).double().mean() > 0.9


@pytest.mark.parametrize("kind", COST_VOLUMES)
def test_rows_beyond_those_that_are_seen_change_nothing(kind):
    torch.manual_seed(2)
    costs = volume(kind)
    if costs.rows_seen is None:
        pytest.skip("it sees the whole map")
    first, second = torch.randn(2, 1, 24, 16, 7, dtype=torch.float64)
    with torch.no_grad():
        before = costs.measure(first, second, None)[:, :, 6]
        outside = torch.ones(16, dtype=torch.bool)
        outside[6 - costs.rows_seen : 7 + costs.rows_seen] = False
        for maps in (first, second):
            maps[:, :, outside] = 100.0
        assert torch.equal(costs.measure(first, second, None)[:, :, 6], before)
        second[:, :, 6 - costs.rows_seen] = 100.0
        assert not torch.equal(costs.measure(first, second, None)[:, :, 6], before)


@pytest.mark.parametrize("name", PYRAMIDS)
def test_all_pyramids_choose_from_the_same_kinds(name):
    kinds = field_types(registry.card(name).settings)
    assert typing.get_args(kinds["cost_volume"]) == tuple(COST_VOLUMES)
    with pytest.raises(InputError, match="choose one of " + ", ".join(COST_VOLUMES)):
        registry.build(name, cost_volume="nonsense")
    with pytest.raises(InputError, match="cost_range must be 1 to 16"):
        registry.build(name, cost_range=17)
    with pytest.raises(InputError, match="gocor_iterations must be 0 or more"):
        registry.build(name, gocor_iterations=-1)


def test_gocors_iterations_reach_the_module_in_every_pyramid():
    for name in ("liteflownet2", "wren"):
        network = registry.build(name, cost_volume="gocor", gocor_iterations=2, gocor_training_iterations=1)
        found = {(m.iterations, m.training_iterations) for m in network.modules() if hasattr(m, "training_iterations")}
        assert found == {(2, 1)}


def test_the_former_name_of_wrens_radius_is_taken_and_read_from_files(tmp_path):
    network = flowzoo.create("wren", radius=2)
    assert network.settings == replace(registry.card("wren").settings, cost_range=2)
    assert registry.changed_settings(network) == {"cost_range": 2}
    native.write(tmp_path / "old.safetensors", network.state_dict(), {"model": "wren", "settings": {"radius": 2}})
    save_weights(network, tmp_path / "new.safetensors")
    for file in ("old.safetensors", "new.safetensors"):
        assert load_weights("wren", tmp_path / file).settings == network.settings
    # The user's word counts, whichever name either of them has.
    for changes in ({"radius": 3}, {"cost_range": 3}):
        with pytest.raises(InputError, match=r"shapes? differ"):
            load_weights("wren", tmp_path / "old.safetensors", **changes)
