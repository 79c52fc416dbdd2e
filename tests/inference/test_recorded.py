"""Passes that are recorded and replayed: with a recorder that works anywhere, and as CUDA graphs on a GPU."""

import logging

import numpy as np
import pytest
import torch
from torch import Tensor

import flowzoo
from flowzoo.inference.estimator import Estimator
from flowzoo.inference.recorded import KEPT, Recorded, worth_recording
from flowzoo.network import FlowNetwork, FlowPrediction


class Replays:
    """As a CUDA graph: works on the memory of its inputs and outputs, whatever was given."""

    def __init__(self) -> None:
        self.made, self.replayed = 0, 0

    def __call__(self, run, first: Tensor, second: Tensor):
        self.made += 1
        found: FlowPrediction = run(first, second)

        def replay() -> None:
            self.replayed += 1
            found.flow.copy_(run(first, second).flow)

        return found, replay


@pytest.fixture(scope="module")
def network() -> FlowNetwork:
    torch.manual_seed(2)
    return flowzoo.create("liteflownetx").requires_grad_(False)


def pair(size: int) -> Tensor:
    return torch.rand(2, 1, 3, size, size)


def test_a_size_is_recorded_when_it_comes_again(network: FlowNetwork) -> None:
    record = Replays()
    recorded = Recorded(network, network, record)
    for turn, size in enumerate((64, 64, 32, 64, 64)):
        images = pair(size)
        assert torch.equal(recorded(*images).flow, network(*images).flow)
        assert record.made == (turn > 0)
    assert record.replayed == 3


def test_results_stay_what_they_were(network: FlowNetwork) -> None:
    recorded = Recorded(network, network, Replays())
    pairs = [pair(32) for _ in range(4)]
    flows = [recorded(*images).flow for images in pairs]
    assert all(torch.equal(flow, network(*images).flow) for flow, images in zip(flows, pairs, strict=True))


def test_few_graphs_are_kept_those_used_last(network: FlowNetwork) -> None:
    record = Replays()
    recorded = Recorded(network, network, record)
    for size in (32, 64, 32, 64, 96, 32, 96):
        recorded(*pair(size))
    assert len(recorded.graphs) == KEPT
    made = record.made
    recorded(*pair(32))
    assert record.made == made
    recorded(*pair(64))
    assert record.made == made + 1


def test_other_weights_are_seen(network: FlowNetwork) -> None:
    record = Replays()
    own = flowzoo.create("liteflownetx").requires_grad_(False)
    recorded = Recorded(own, own, record)
    for _ in range(2):
        recorded(*pair(32))
    for weight in own.parameters():
        weight.data = weight.data * 1.1  # in another place
    images = pair(32)
    assert torch.equal(recorded(*images).flow, own(*images).flow)
    assert record.made == 1


def test_what_cannot_be_recorded_runs_as_it_is(network: FlowNetwork, caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def record(run, first: Tensor, second: Tensor):
        calls.append(1)
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    recorded = Recorded(network, network, record)
    with caplog.at_level(logging.INFO, logger="flowzoo"):
        for _ in range(4):
            images = pair(32)
            assert torch.equal(recorded(*images).flow, network(*images).flow)
    assert len(calls) == 1
    assert [entry.getMessage() for entry in caplog.records] == [
        "liteflownetx runs without a CUDA graph: operation not permitted"
    ]


def test_an_estimator_records_what_leaves_memory(network: FlowNetwork) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    for memory, made in ((4.0, 1), (0.01, 0)):
        estimator = Estimator(network, memory=memory)
        wanted = estimator(*images).flow
        record = Replays()
        estimator.recorded = Recorded(network, estimator._eager, record)
        for _ in range(3):
            np.testing.assert_array_equal(estimator(*images).flow, wanted)
        assert record.made == made


def test_where_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worth_recording(torch.device("cuda"))
    assert not worth_recording(torch.device("cpu"))
    monkeypatch.setenv("FLOWZOO_GRAPHS", "0")
    assert not worth_recording(torch.device("cuda"))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["wren", "pwcnet", "raft-small"])
def test_a_gpu_gives_the_same_flow(name: str, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    network = flowzoo.create(name).cuda()
    pairs = np.random.default_rng(0).integers(0, 256, (5, 2, 96, 160, 3), dtype=np.uint8)
    estimator = Estimator(network, precision)
    flows = [estimator(*pair).flow for pair in pairs]
    assert estimator.recorded is not None
    assert len(estimator.recorded.graphs) == 1
    monkeypatch.setenv("FLOWZOO_GRAPHS", "0")
    plain = Estimator(network, precision)
    assert plain.recorded is None
    for flow, pair in zip(flows, pairs, strict=True):
        wanted = plain(*pair).flow
        assert np.median(np.abs(flow - wanted)) < 1e-4 * (1 + np.abs(wanted).max())
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.01)
    assert np.median(np.abs(estimator(*pairs[0]).flow - plain(*pairs[0]).flow)) < 1e-4 * (1 + np.abs(wanted).max())
