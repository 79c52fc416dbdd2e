"""RAFT against the reference's flow, in both forms of its correlation, and what its settings do."""

import json

import numpy as np
import pytest
import reference_outputs as references
import torch
import torch.nn.functional as F

import flowzoo
from flowzoo.blocks.padding import padding_to
from flowzoo.errors import InputError

NAMES = ("raft", "raft-small")


@pytest.fixture(scope="module")
def filled(shared):
    """Name of a reference and settings -> its arrays, and the network with its weights."""

    def get(reference: str, **settings):
        arrays, state = references.load(shared, reference)
        name = reference.removesuffix("-odd")
        network = flowzoo.create(name, **settings)
        network.load_state_dict(flowzoo.import_checkpoint(name, state))
        return arrays, network

    return get


def far(found: torch.Tensor, wanted: np.ndarray) -> float:
    return float(np.abs(found[0].numpy() - wanted).max())


@pytest.mark.parametrize("form", ["stored", "on-demand"])
@pytest.mark.parametrize("name", NAMES)
def test_flow_is_the_references(name, form, filled):
    arrays, network = filled(name, cost_volume=form)
    with torch.inference_mode():
        prediction = network(*references.image_pair(arrays))
    assert far(prediction.flow, arrays["flow_12"]) < 1e-3
    assert far(prediction.details["coarse_flow"], arrays["flow_low_12"]) < 1e-4
    assert len(prediction.pyramid) == 1


@pytest.mark.parametrize("name", NAMES)
def test_more_iterations(name, filled):
    arrays, network = filled(name, iterations=20)
    with torch.inference_mode():
        assert far(network(*references.image_pair(arrays)).flow, arrays["flow_20"]) < 2e-3


@pytest.mark.parametrize("name", NAMES)
def test_intermediates_are_the_references(name, filled):
    arrays, network = filled(name)
    one, two = (2 * image - 1 for image in references.image_pair(arrays))
    with torch.inference_mode():
        assert far(network.features(one)[:, :8], arrays["fmap1_first8"]) < 1e-4
        assert far(network.features(two)[:, :8], arrays["fmap2_first8"]) < 1e-4
        hidden = network.settings.hidden
        context = network.context(one)
        seen = torch.cat([context[:, :4], context[:, hidden : hidden + 4]], dim=1)
        assert far(seen, arrays["context_first8"]) < 1e-4
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(20.0), indexing="ij")
        numbers = (network.settings.radius, network.settings.levels)
        costs = flowzoo.operators.lookup(
            network.features(one), network.features(two), torch.stack([x, y])[None], *numbers
        )
        assert far(costs[..., 4:8, 6:10], arrays["corr_first_crop"]) < 2e-3


@pytest.mark.parametrize("padding", ["sintel", "kitti"])
@pytest.mark.parametrize("name", NAMES)
def test_odd_sizes_are_padded_as_published(name, padding, filled):
    arrays, network = filled(f"{name}-odd", padding=padding)
    sides = padding_to((131, 157), 8, padding, 16)
    assert [sides.left, sides.right, sides.top, sides.bottom] == arrays[f"padding_{padding}"].tolist()
    with torch.inference_mode():
        assert far(network(*references.image_pair(arrays)).flow, arrays[f"flow_12_{padding}"]) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_flow_can_start_from_another(name, filled):
    arrays, network = filled(f"{name}-odd")
    images = [references.image_pair({"image1": arrays["image2"], "image2": arrays["image3"]})]
    with torch.inference_mode():
        warm = network.predict(*images[0], torch.from_numpy(arrays["warm_start_2"])[None])
        cold = network(*images[0])
    assert far(warm.flow, arrays["flow_12_warm_2to3"]) < 2e-3
    assert far(cold.flow, arrays["flow_12_cold_2to3"].astype("f4")) < 0.02  # stored in float16


@pytest.mark.parametrize("name", NAMES)
def test_both_publishers_names_give_the_same_weights(name, shared):
    arrays, state = references.load(shared, name)
    names = json.loads(str(arrays["keys_torchvision"]))
    theirs = {new: state[old] for old, new in names.items() if new}
    one, other = flowzoo.import_checkpoint(name, state), flowzoo.import_checkpoint(name, theirs)
    assert list(one) == list(other)
    assert all(torch.equal(one[key], other[key]) for key in one)
    ptlflow = {"state_dict": {key.removeprefix("module."): value for key, value in state.items()}}
    again = flowzoo.import_checkpoint(name, ptlflow)
    assert all(torch.equal(one[key], again[key]) for key in one)
    gate = "convz1" if name == "raft" else "convz"
    with pytest.raises(InputError, match=r"1 missing \(update_block"):
        flowzoo.import_checkpoint(name, {key: value for key, value in state.items() if f"{gate}.bias" not in key})
    with pytest.raises(InputError, match=r"1 left over \(extra"):
        flowzoo.import_checkpoint(
            name, {key.removeprefix("module."): state[key] for key in state} | {"extra": gate_of(state)}
        )


def gate_of(state: dict) -> torch.Tensor:
    return next(iter(state.values()))


def test_the_other_ones_weights_are_refused(shared):
    with pytest.raises(InputError, match="no weights of raft-small"):
        flowzoo.import_checkpoint("raft-small", references.load(shared, "raft")[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_both_forms_give_the_same_flow_and_gradients(name, dtype):
    """Of all twelve iterations: through the native kernel in float32, through the definition in float64."""
    images = torch.rand(2, 1, 3, 72, 88, dtype=dtype)
    flows, gradients = [], []
    for form in ("stored", "on-demand"):
        torch.manual_seed(1)
        network = flowzoo.create(name, cost_volume=form).to(dtype).train()
        assert network.settings.iterations == 12
        prediction = network(*images)
        sum(flow.square().mean() for flow in prediction.pyramid).backward()
        flows.append(prediction.flow.detach())
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert flows[0].abs().max() > 0.5
    assert (flows[0] - flows[1]).abs().max() <= (1e-4 if dtype == torch.float32 else 1e-9)
    # Biases in front of an instance norm have no gradient: what is there is rounding.
    largest = max(float(one.norm()) for one in gradients[0])
    compared = [(one, other) for one, other in zip(*gradients, strict=True) if one.norm() > 1e-4 * largest]
    assert len(compared) > len(gradients[0]) / 2
    for one, other in compared:
        assert (one - other).norm() <= (1e-4 if dtype == torch.float32 else 1e-9) * one.norm()


def test_training_gives_the_flow_of_every_iteration():
    images = torch.rand(2, 1, 3, 40, 50)
    network = flowzoo.create("raft-small", iterations=3)
    with torch.inference_mode():
        assert len(network(*images).pyramid) == 1
        assert [flow.shape for flow in network.train()(*images).pyramid] == [(1, 2, 40, 50)] * 3


def test_batch_norm_is_frozen_unless_it_is_to_be_trained():
    images = torch.rand(2, 1, 3, 64, 64)
    for setting, moves in (("frozen", False), ("trained", True)):
        network = flowzoo.create("raft", batch_norm=setting, iterations=1).train()
        before = network.context.stem.norm.running_mean.clone()
        flow = network(*images).flow
        assert torch.equal(network.context.stem.norm.running_mean, before) != moves
        assert torch.allclose(flow, network.eval()(*images).flow, atol=1e-6) != moves
        fresh = flowzoo.registry.build("raft", batch_norm=setting)
        assert fresh.context.stem.norm.training == moves


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_number_types(dtype):
    network = flowzoo.create("raft-small", iterations=2).to(dtype)
    with torch.inference_mode():
        assert torch.isfinite(network(*torch.rand(2, 1, 3, 32, 40).to(dtype)).flow).all()


def test_sides_of_one_pixel_on_a_level_are_sampled_not_divided_by():
    """Where the published code divides by a level's side less one, our flow is finite and follows the images."""
    network = flowzoo.create("raft-small", iterations=2)
    wide = torch.rand(1, 3, 64, 200)
    with torch.inference_mode():
        flow = network(wide, torch.roll(wide, 3, 3)).flow
    assert torch.isfinite(flow).all()
    assert flow.std() > 0


def test_padding_repeats_the_border_and_is_cut_off_again():
    images = torch.rand(1, 3, 5, 9)
    padding = padding_to((5, 9), 8, "sintel", 16)
    padded = padding.pad(images)
    assert torch.equal(padded, F.pad(images, (3, 4, 5, 6), mode="replicate"))
    assert torch.equal(padding.cut(padded), images)


@pytest.mark.parametrize(
    "settings",
    [{"iterations": 0}, {"radius": 17}, {"motion_channels": 2}, {"channels": (32, 30, 64, 96)}, {"cost_channels": ()}],
)
def test_settings_that_make_no_network(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        flowzoo.create("raft-small", **settings)
