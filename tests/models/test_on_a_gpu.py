"""What every network does on a GPU: nobody waits for it, it can be recorded as a CUDA graph, half precision, gradients.

That it computes what it computes on a CPU is said by the fixtures (tests/parity).
"""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import flowzoo
from flowzoo import registry
from flowzoo.network import ZooNetwork

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
NAMES = flowzoo.list_models(task="flow")


@pytest.fixture(autouse=True)
def _float32_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def network_of(name: str) -> ZooNetwork:
    """In eval mode on the CPU, with weights from one seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return registry.build(name).eval()


def pair(batch: int = 1, size: tuple[int, int] = (128, 192)) -> Tensor:
    """(2,B,3,H,W): smooth noise that moves by three pixels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(batch, 3, size[0] // 8 + 2, size[1] // 8 + 2, generator=generator)
    smooth = torch.nn.functional.interpolate(noise, scale_factor=8.0, mode="bicubic").clamp(0, 1)
    return torch.stack([smooth[..., : size[0], shift : shift + size[1]] for shift in (0, 3)])


@pytest.fixture
def nobody_waits() -> Iterator[None]:
    """Whatever waits for the device is an error."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", NAMES)
def test_the_host_never_waits(name: str, request: pytest.FixtureRequest) -> None:
    network, images = network_of(name).cuda(), pair().cuda()
    with torch.inference_mode():
        network(*images)
        request.getfixturevalue("nobody_waits")
        network(*images)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_of_it_gives_the_same_flow(name: str) -> None:
    network, images = network_of(name).cuda(), pair().cuda()
    with torch.inference_mode():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                network(*images)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = network(*images).flow
        other = images.flip(-1).contiguous()
        wanted = network(*other).flow
        images.copy_(other)
        graph.replay()
        torch.cuda.synchronize()
        assert (found - wanted).abs().median() < 1e-4 * (1 + wanted.abs().max())


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_finite_and_near(name: str, precision: torch.dtype) -> None:
    network, images = network_of(name).cuda(), pair(2).cuda()
    with torch.inference_mode():
        wanted = network(*images).flow
        with torch.autocast("cuda", precision):
            found = network(*images).flow
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert (found - wanted).abs().median() < 0.1 * (1 + wanted.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_as_exact_as_on_the_cpu(name: str) -> None:
    """Of the mean square of the flow, for all parameters together: at most ten times as far from those in float64.

    Where a network's float32 gradients mean little (GOCor's steps, HD3's choices), so do they here.
    """
    network, images = network_of(name), pair(1, (64, 128))
    exact, there = copy.deepcopy(network).double(), copy.deepcopy(network).cuda()
    wanted, here, found = (
        _gradients(one, inputs) for one, inputs in ((exact, images.double()), (network, images), (there, images.cuda()))
    )
    rounding, error = (float((one - wanted).norm() / wanted.norm()) for one in (here, found))
    assert error <= 10 * rounding + 1e-4, f"off by {error:.2g} of their norm, {rounding:.2g} on the CPU"


def _gradients(network: ZooNetwork, images: Tensor) -> Tensor:
    network(*images).flow.square().mean().backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
    return torch.cat([part.double().cpu().flatten() for part in parts])
