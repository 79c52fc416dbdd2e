"""Pairs of a sequence that start from the flow of the pair before."""

import numpy as np
import pytest
import torch

import flowzoo
from flowzoo.cli import main
from flowzoo.errors import InputError
from flowzoo.files.images import read_image
from flowzoo.flow.propagation import propagated
from flowzoo.inference.estimator import Estimator

SIZE = (48, 64)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = flowzoo.create("raft-small", iterations=3)
    with torch.no_grad():
        network.update.head[2].weight.mul_(3)  # so that the flow of random weights goes somewhere
    return network


def frames(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(count)]


def tensors(first: np.ndarray, second: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in (first, second)]


def test_a_pair_starts_from_the_flow_of_the_one_before(network):
    one, two, three = frames(3)
    warm = Estimator(network, warm_start=True)
    begun, continued = warm(one, two), warm(two, three)
    cold = Estimator(network)
    assert np.array_equal(begun.flow, cold(one, two).flow)
    assert not np.allclose(continued.flow, cold(two, three).flow, atol=1e-3)
    with torch.inference_mode():
        coarse = network(*tensors(one, two)).details["coarse_flow"]
        wanted = network.from_start(*tensors(two, three), propagated(coarse)).flow[0].permute(1, 2, 0).numpy()
    assert np.allclose(continued.flow, wanted, atol=1e-5)


def test_another_sequence_starts_anew(network):
    one, two, three, four = frames(4)
    warm, cold = Estimator(network, warm_start=True), Estimator(network)
    warm(one, two)
    assert np.array_equal(warm(three, four).flow, cold(three, four).flow)
    small = [image[:40, :56].copy() for image in (one, two)]
    assert np.array_equal(warm(*small).flow, cold(*small).flow)


def test_backward_flow_starts_from_zero(network):
    one, two, three = frames(3)
    warm, cold = Estimator(network, warm_start=True, backward=True), Estimator(network, backward=True)
    warm(one, two)
    assert np.array_equal(warm(two, three).backward, cold(two, three).backward)


def test_networks_that_do_not_refine_say_so(network):
    with pytest.raises(InputError, match="wren cannot start from a flow"):
        Estimator(flowzoo.create("wren"), warm_start=True)
    with pytest.raises(InputError, match="start must be"):
        network.from_start(*torch.rand(2, 1, 3, *SIZE), torch.zeros(1, 2, 3, 3))
    with pytest.raises(InputError, match="equal shapes"):
        network.from_start(torch.rand(1, 3, *SIZE), torch.rand(2, 3, *SIZE), torch.zeros(1, 2, 6, 8))


@pytest.fixture
def folder(tmp_path):
    from PIL import Image

    (tmp_path / "in").mkdir()
    for index, frame in enumerate(frames(3)):
        Image.fromarray(frame).save(tmp_path / "in" / f"{index:04d}.png")
    return tmp_path


def infer(folder, network, *options: str) -> int:
    from flowzoo.checkpoints import save_weights

    save_weights(network, folder / "w.safetensors")
    words = ["infer", str(folder / "in"), "--weights", str(folder / "w.safetensors"), "-o", str(folder / "out")]
    return main([*words, "--no-pictures", *options])


def test_the_command_line_does_so(folder, network, capsys):
    assert infer(folder, network, "--warm-start") == 0
    images = [read_image(folder / "in" / f"{index:04d}.png") for index in range(3)]
    warm = Estimator(network, warm_start=True)
    for index in range(2):
        flow, _ = flowzoo.read_flow(folder / "out" / f"{index:04d}.flo")
        assert np.allclose(flow, warm(images[index], images[index + 1]).flow, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "2"], "one pair after the other"),
        (["--skip-existing"], "every pair before"),
        (["--memory", "0.0001"], "whole frames"),
    ],
)
def test_what_it_cannot_go_with(folder, network, options, message, capsys):
    assert infer(folder, network, "--warm-start", *options) == 2
    assert message in capsys.readouterr().err
