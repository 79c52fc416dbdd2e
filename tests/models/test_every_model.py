"""What every network of the zoo must do, driven by the registry."""

import inspect

import pytest
import torch

import flowzoo
from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.network import FlowPrediction

NAMES = flowzoo.list_models(task="flow")


@pytest.fixture(scope="module")
def networks():
    """Every network is built once for this file."""
    built: dict[str, torch.nn.Module] = {}

    def get(name: str) -> torch.nn.Module:
        if name not in built:
            torch.manual_seed(0)
            built[name] = flowzoo.create(name)
        return built[name]

    return get


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_what_the_card_says(name, networks):
    assert sum(p.numel() for p in networks(name).parameters()) == registry.card(name).parameters


@pytest.mark.parametrize("name", NAMES)
def test_eval_mode_name_and_settings(name, networks):
    network = networks(name)
    assert not network.training
    assert network.model_name == name
    assert network.settings == registry.card(name).settings
    assert list(inspect.signature(network.forward).parameters) == ["first", "second"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (37, 61)])
def test_any_size_gives_finite_flow_of_that_size_and_twice_the_same(name, size, networks):
    images = torch.rand(2, 2, 3, *size)
    with torch.inference_mode():
        prediction = networks(name)(*images)
        again = networks(name)(*images)
    assert isinstance(prediction, FlowPrediction)
    assert prediction.flow.shape == (2, 2, *size)
    assert prediction.flow.dtype == torch.float32
    assert torch.isfinite(prediction.flow).all()
    assert torch.equal(prediction.flow, again.flow)
    areas = [level.shape[-2] * level.shape[-1] for level in prediction.pyramid]
    assert areas == sorted(areas)


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_batch_do_not_mix(name, networks):
    images = torch.rand(2, 2, 3, 40, 50)
    with torch.inference_mode():
        together = networks(name)(*images).flow[1:]
        alone = networks(name)(*images[:, 1:]).flow
    # Batched convolutions may sum in another order; hard choices (HD3's windows) may then fall elsewhere.
    difference = (together - alone).abs()
    assert difference.median() < 1e-3 * (1 + alone.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_batch_of_nothing(name, networks):
    assert networks(name)(torch.rand(0, 3, 20, 30), torch.rand(0, 3, 20, 30)).flow.shape == (0, 2, 20, 30)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "images",
    [
        (torch.rand(3, 8, 8), torch.rand(3, 8, 8)),
        (torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)),
        (torch.rand(1, 3, 8, 8), torch.rand(2, 3, 8, 8)),
    ],
    ids=["three-dimensional", "grey", "uint8", "batches"],
)
def test_wrong_input_is_named(name, images, networks):
    with pytest.raises(InputError, match=r"must be|give equal shapes"):
        networks(name)(*images)
