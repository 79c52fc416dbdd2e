"""What every network that predicts frames, or makes frames in between, must do, driven by the registry."""

import pytest
import torch

import flowzoo
from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.network import PredictionNetwork, VideoPrediction

NAMES = [*flowzoo.list_models(task="prediction"), *flowzoo.list_models(task="interpolation")]
# Only behaviour counts here: small ones of the same build.
SMALL = {
    "predictor": {"width": 4},
    "toy-generator": {"width": 4},
    "svg": {"architecture": "dcgan", "code": 8, "latent": 2, "recurrent": 16},
    "svg-prime": {"width": 1, "code": 8, "latent": 2, "recurrent": 8},
    "flavr": {"inputs": 2},
}
SQUARE = {"svg": 64}
"""Networks for square frames of one size."""
MULTIPLE = {"svg-prime": 8}
"""Networks for sides that are multiples."""


@pytest.fixture(scope="module")
def networks():
    """Every network is built once for this file, from its own seed."""
    built: dict[str, torch.nn.Module] = {}

    def get(name):
        if name not in built:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = registry.build(name, **SMALL.get(name, {})).eval()
                for weight in network.parameters():
                    if weight.dim() > 2:  # published starts are so small that the input hardly matters
                        torch.nn.init.kaiming_normal_(weight)
                built[name] = network
        return built[name]

    return get


def clip(network, size, batch=1, seed=0):
    name = network.model_name
    multiple = MULTIPLE.get(name, 1)
    size = (SQUARE[name],) * 2 if name in SQUARE else tuple(-(-side // multiple) * multiple for side in size)
    count = network.frames_in or 3
    return torch.rand(batch, count, 3, *size, generator=torch.Generator().manual_seed(seed))


def made_by(network, frames, steps=1):
    """Frames that the network makes; what it draws is the same every time."""
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(1)
        if isinstance(network, PredictionNetwork):
            return network.extend(frames, steps)
        return network(frames)


def test_the_papers_networks_are_there():
    assert set(NAMES) >= {"predictor", "svg", "svg-prime", "toy-generator", "flavr"}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_what_the_card_says(name):
    with torch.device("meta"):
        network = registry.build(name)
    assert sum(p.numel() for p in network.parameters()) == registry.card(name).parameters


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (9, 21), (16, 8)])
def test_any_size_gives_finite_frames_and_twice_the_same(name, size, networks):
    network = networks(name)
    frames = clip(network, size)
    found, again = made_by(network, frames), made_by(network, frames)
    assert isinstance(found, VideoPrediction)
    assert found.frames.shape == (1, 1, 3, *frames.shape[-2:])
    assert found.frames.dtype == torch.float32
    assert torch.isfinite(found.frames).all()
    assert torch.equal(found.frames, again.frames)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("svg", "takes frames of 64x64 pixels, got 21x9"),
        ("svg-prime", "takes frames whose sides are multiples of 8, got 21x9"),
    ],
)
def test_networks_for_some_sizes_refuse_others(name, words, networks):
    with pytest.raises(InputError, match=words):
        networks(name)(torch.rand(1, 3, 3, 9, 21))


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_batch_do_not_mix(name, networks):
    network = networks(name)
    one, other = clip(network, (12, 20), batch=2), clip(network, (12, 20), batch=2, seed=5)
    other[0] = one[0]
    first, second = (made_by(network, frames).frames for frames in (one, other))
    assert (first[0] - second[0]).abs().max() < 1e-5
    assert (first[1] - second[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_gives_no_frames(name, networks):
    network = networks(name)
    found = made_by(network, clip(network, (16, 16), batch=0)).frames
    assert found.shape[0] == 0
    assert found.shape[2] == 3


@pytest.mark.parametrize("name", flowzoo.list_models(task="prediction"))
def test_more_steps_give_more_frames_and_the_first_stays(name, networks):
    network = networks(name)
    frames = clip(network, (16, 24))
    three = made_by(network, frames, 3).frames
    assert three.shape[1] == 3
    assert (three[:, :1] - made_by(network, frames, 1).frames).abs().max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (torch.rand(3, 3, 8, 8), "must be"),
        (torch.rand(1, 3, 1, 8, 8), "must be"),
        (torch.zeros(1, 3, 3, 8, 8, dtype=torch.uint8), "must be float"),
    ],
)
def test_wrong_input_is_named(name, frames, words, networks):
    with pytest.raises(InputError, match=words):
        networks(name)(frames)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_reaches_every_parameter_with_finite_gradients(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = registry.build(name, **SMALL.get(name, {})).train()
        frames = clip(network, (32, 32), batch=2)
        if hasattr(network, "training_pass"):
            found = network.training_pass(frames, 2)
            loss = found.frames.square().mean() + found.divergence
        else:
            loss = network(frames).frames.square().mean()
    loss.backward()
    trained = {key: value for key, value in network.named_parameters() if value.requires_grad}
    assert [key for key, value in trained.items() if value.grad is None] == []
    assert all(torch.isfinite(value.grad).all() for value in trained.values())
