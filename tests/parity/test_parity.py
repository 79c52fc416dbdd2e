"""Every network of the zoo computes what its fixture says: what it computed when it met its publisher's outputs."""

import hashlib

import numpy as np
import pytest
import torch
from parity_fixture import (
    FOLDER,
    Fixture,
    Tolerance,
    moving_frames,
    names_and_shapes,
    outputs,
    tolerance,
    uniform,
)

import flowzoo
from flowzoo import registry

NAMES = flowzoo.list_models()
WITH_WEIGHTS = [name for name in NAMES if registry.card(name).default_weights]
BYTES_OF_ALL = 2_000_000


def contradictions(network, fixture):
    """Names of the outputs that differ from the fixture by more than the tolerance, or are not in both."""
    found, limit = outputs(network), tolerance(network)
    shapes = {key: value.shape for key, value in found.items()}
    if shapes != {key: value.shape for key, value in fixture.arrays.items()}:
        return ["shapes"]
    return [key for key, value in found.items() if limit.violated_by(value, fixture.arrays[key])]


def check(name, title, device="cpu"):
    assert Fixture.path(title).is_file(), (
        f"{name} has no parity fixture: once it meets its publisher's outputs, run "
        f"python tools/make_parity_fixtures.py {name}"
    )
    fixture = Fixture.read(title)
    network = fixture.network(name)
    assert names_and_shapes(network) == fixture.names_and_shapes, (
        f"parameters of {name} have other names or shapes than when its fixture was made: "
        "files of weights that were written before no longer load"
    )
    assert contradictions(network.to(device), fixture) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_network_computes_what_its_fixture_says(name):
    check(name, name)


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_weights_that_ship_give_the_flow_that_they_gave(name):
    check(name, f"{name}-weights")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_computes_what_the_fixture_says(name, monkeypatch):
    """In float32 as such: convolutions in TF32 keep ten bits. What is drawn at random is drawn on the host."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    draw = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *size, device=None, **how: draw(*size, **how).to(device))
    check(name, name, "cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_weights_that_ship_give_the_same_flow_on_a_gpu(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    check(name, f"{name}-weights", "cuda")


def test_fixtures_are_small_and_none_is_left_over():
    files = list(FOLDER.glob("*.npz"))
    assert {path.stem for path in files} == {*NAMES, *(f"{name}-weights" for name in WITH_WEIGHTS)}
    assert sum(path.stat().st_size for path in files) < BYTES_OF_ALL


def test_a_network_without_fixture_fails_with_the_command_that_makes_it():
    with pytest.raises(AssertionError, match=r"tools/make_parity_fixtures\.py nothing"):
        check("nothing", "nothing")


def test_a_renamed_parameter_fails(monkeypatch):
    fixture = Fixture.read("pwcnet-paper")
    monkeypatch.setattr(Fixture, "read", lambda name: Fixture(fixture.arrays, "another", fixture.gain, {}))
    with pytest.raises(AssertionError, match="other names or shapes"):
        check("pwcnet-paper", "pwcnet-paper")


@pytest.mark.parametrize("name", ["liteflownetx", "pwcnet-paper"])
def test_a_small_change_is_seen(name):
    fixture = Fixture.read(name)
    network = fixture.network(name)
    assert contradictions(network, fixture) == []
    weight = next(iter(network.parameters()))
    with torch.no_grad():
        weight[0] *= 1.05
    assert contradictions(network, fixture)


def test_tolerances_count_outliers_and_what_is_no_number():
    one_far = np.zeros(1000)
    one_far[7] = 3
    choice = Tolerance(mean=1e-2, outlier=0.05, share=1e-3)
    assert not choice.violated_by(one_far, np.zeros(1000))
    assert choice.violated_by(one_far[:999], np.zeros(999))
    assert choice.violated_by(np.full(9, 0.02), np.zeros(9))
    assert Tolerance(largest=2).violated_by(one_far, np.zeros(1000))
    assert Tolerance(largest=2).violated_by(np.full(3, np.nan), np.zeros(3))


def test_seeded_numbers_and_images_are_the_same_on_every_machine():
    numbers = uniform("levels.3.weight", (2, 3))
    assert numbers.tolist() == uniform("levels.3.weight", (6,)).reshape(2, 3).tolist()
    assert (np.abs(uniform("a", (10000,))) <= 1).all()
    assert abs(uniform("a", (10000,)).var() - 1 / 3) < 0.01
    frames = (moving_frames(3, 40, 56) * 255).round().to(torch.uint8)
    assert torch.equal(frames[0, :, 2:12, 3:13], frames[1, :, :10, :10])
    digest = hashlib.sha256(numbers.tobytes() + frames.numpy().tobytes()).hexdigest()
    assert digest == "661358297d0aa27d78e43741ae82b0bff61ec2d8d3cc0dbc7fd849a875d89365"
