"""What every network that enlarges frames must do, driven by the registry."""

import pytest
import torch

import flowzoo
from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.network import VideoPrediction

NAMES = flowzoo.list_models(task="super-resolution")
# Whose shipped form is large are built smaller where only behaviour counts.
SMALL = {"edvr-l": {"channels": 32, "reconstruct_blocks": 2}, "basicvsr": {"blocks": 2}}


def small(name):
    torch.manual_seed(0)
    return registry.build(name, **SMALL.get(name, {}))


@pytest.fixture(scope="module")
def networks():
    """Every network is built once for this file."""
    built: dict[str, torch.nn.Module] = {}

    def get(name):
        if name not in built:
            built[name] = small(name).eval()
        return built[name]

    return get


def clip(network, size, batch=1):
    return torch.rand(batch, network.frames_in or 3, 3, *size)


def test_the_papers_networks_are_there():
    assert set(NAMES) >= {"edvr-m", "edvr-l", "tdan", "toflow", "flow-vsr", "basicvsr", "kestrel"}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_what_the_card_says(name):
    with torch.device("meta"):
        network = registry.build(name)
    assert sum(p.numel() for p in network.parameters()) == registry.card(name).parameters


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (9, 21)])
def test_any_size_gives_finite_frames_and_twice_the_same(name, size, networks):
    network = networks(name)
    frames = clip(network, size)
    with torch.inference_mode():
        prediction, again = network(frames), network(frames)
    assert isinstance(prediction, VideoPrediction)
    count = frames.shape[1] if network.frames_in is None else 1
    assert prediction.frames.shape == (1, count, 3, size[0] * network.scale, size[1] * network.scale)
    assert prediction.frames.dtype == torch.float32
    assert torch.isfinite(prediction.frames).all()
    assert torch.equal(prediction.frames, again.frames)


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_batch_do_not_mix(name, networks):
    network = networks(name)
    frames = clip(network, (12, 20), batch=2)
    with torch.inference_mode():
        together, alone = network(frames).frames[1:], network(frames[1:]).frames
    assert (together - alone).abs().max() < 1e-4 * (1 + alone.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_convolutions_change_little(name, networks):
    network = networks(name)
    frames = clip(network, (16, 16))
    with torch.inference_mode():
        wanted = network(frames).frames
        with torch.autocast("cpu", torch.bfloat16):
            found = network(frames).frames
    assert found.dtype == torch.float32
    assert (found - wanted).abs().mean() < 0.03 * (1 + wanted.abs().mean())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (torch.rand(5, 3, 8, 8), "must be"),
        (torch.rand(1, 5, 1, 8, 8), "must be"),
        (torch.zeros(1, 5, 3, 8, 8, dtype=torch.uint8), "must be float"),
        (torch.rand(1, 4, 3, 8, 8), "frames at a time"),
    ],
)
def test_wrong_input_is_named(name, frames, words, networks):
    network = networks(name)
    if words == "frames at a time" and network.frames_in is None:
        pytest.skip("takes any number of frames")
    with pytest.raises(InputError, match=words):
        network(frames)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_reaches_every_parameter_with_finite_gradients(name):
    network = small(name).train()
    network(clip(network, (16, 16))).frames.square().mean().backward()
    trained = {key: value for key, value in network.named_parameters() if value.requires_grad}
    assert [key for key, value in trained.items() if value.grad is None] == []
    assert all(torch.isfinite(value.grad).all() for value in trained.values())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("edvr-m", {"predeblur": True}),
        ("edvr-m", {"predeblur": True, "hr_in": True}),
        ("edvr-m", {"alignment": "image", "tsa": False}),
        ("edvr-m", {"groups": 1, "offsets": 15, "modulated": False, "frames": 3}),
        ("edvr-m", {"groups": 4, "offsets": 4, "alignment": "decomposed", "flow": "wren", "frames": 3}),
        ("edvr-m", {"alignment": "image", "flow": "spynet", "frames": 3}),
        ("tdan", {"groups": 1, "offsets": 25, "frames": 3}),
        ("kestrel", {"frames": 1}),
        ("kestrel", {"frames": 3, "offsets": 9, "groups": 4, "flow": "spynet"}),
    ],
)
def test_settings_of_the_papers_studies(name, settings):
    network = registry.build(name, **settings)
    prediction = network(torch.rand(1, network.frames_in, 3, 13, 18))
    assert prediction.frames.shape[-2:] == (13 * network.scale, 18 * network.scale)
    prediction.frames.mean().backward()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("edvr-m", {"frames": 4}, "odd"),
        ("edvr-m", {"groups": 3}, "groups that divide"),
        ("edvr-m", {"hr_in": True}, "predeblur"),
        ("edvr-m", {"flow": "tdan"}, "flow network"),
        ("tdan", {"alignment": "decomposed", "border": "legacy"}, "modern border rule"),
        ("flow-vsr", {"flows": 0}, "at least 1"),
        ("kestrel", {"frames": 2}, "odd"),
    ],
)
def test_settings_that_make_no_network_are_refused(name, settings, words):
    with pytest.raises(InputError, match=words):
        registry.build(name, **settings)


@pytest.mark.parametrize("form", ["deformable", "decomposed"])
def test_a_flow_inside_edvr_moves_the_offsets(form):
    network = registry.build("edvr-m", flow="spynet", groups=1, offsets=5, modulated=False, alignment=form, frames=3)
    network.flow.forward = lambda first, second: type("P", (), {"flow": torch.full_like(first[:, :2], 3.0)})()
    offsets = network(torch.rand(1, 3, 3, 16, 16)).details["offsets"]
    for level, expected in (("l1", 3.0), ("l2", 1.5), ("l3", 0.75)):
        means = [entry[level].mean().item() for entry in offsets]
        # The five starting places of free offsets average to zero.
        assert means == pytest.approx([expected, 0.0, expected], abs=1e-4), level
