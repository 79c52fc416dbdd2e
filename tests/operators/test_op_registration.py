"""What torch expects of the public operators: compile, export, autocast, and differentiable steps made of them."""

import pytest
import torch
from operator_samples import KEEP_TYPES, PUBLIC, Sizes
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from flowzoo import operators


class Call(nn.Module):
    """One public operator as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        return PUBLIC[self.name](first, second, flow)


def public_inputs(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(2, 3, height, width), torch.randn(2, 3, height, width), torch.randn(2, 2, height, width)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", PUBLIC)
def test_compiles_in_one_graph(name: str, dynamic: bool) -> None:
    """Forward and backward; `aot_eager` traces as inductor does and needs no C++ build."""
    torch._dynamo.reset()
    compiled = torch.compile(PUBLIC[name], fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in ((6, 7), (8, 5)) if dynamic else ((6, 7),):
        inputs = [tensor.requires_grad_() for tensor in public_inputs(*size)]
        found, wanted = compiled(*inputs), PUBLIC[name](*inputs)
        assert torch.allclose(found, wanted, atol=1e-6)
        incoming = torch.randn_like(wanted)
        gradients = [torch.autograd.grad(out, inputs, incoming, allow_unused=True) for out in (found, wanted)]
        for one, other in zip(*gradients, strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", PUBLIC)
def test_exports(name: str) -> None:
    """The exported program runs at the exported size and, with dynamic sides, at another."""
    inputs = public_inputs(6, 8)
    sides = {2: torch.export.Dim("height", min=4, max=4096), 3: torch.export.Dim("width", min=4, max=4096)}
    program = torch.export.export(Call(name), inputs, dynamic_shapes=(sides, sides, sides))
    for size in ((6, 8), (9, 10)):
        other = public_inputs(*size)
        assert torch.allclose(program.module()(*other), PUBLIC[name](*other), atol=1e-6)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in KEEP_TYPES])
def test_autocast_keeps_float32(name: str) -> None:
    """Under bfloat16 autocast half-precision features are widened: costs and flow stay float32, gradients too."""
    first, second, flow = public_inputs(6, 7)
    with torch.autocast("cpu", torch.bfloat16):
        halves = [tensor.bfloat16().requires_grad_() for tensor in (first, second, flow)]
        found = PUBLIC[name](*halves)
    assert found.dtype == torch.float32
    assert torch.allclose(found, PUBLIC[name](*(half.float() for half in halves)), atol=1e-5)
    gradients = torch.autograd.grad(found.sum(), halves, allow_unused=True)
    assert all(gradient is None or gradient.dtype == torch.bfloat16 for gradient in gradients)


def test_a_step_of_a_filter_optimiser_is_differentiable() -> None:
    """What GOCor does: the gradient of a correlation loss, stepped along, and a loss on the result."""
    sizes = Sizes(1, 3, 4, torch.float64)
    filters, features = sizes.maps(2), sizes.maps(2)

    def optimised(filters: Tensor, features: Tensor) -> Tensor:
        residual = operators.correlation(filters, features, 1) - 1
        direction = operators.correlation_transpose(residual, features, 1)
        curvature = operators.correlation(direction, features, 1).square().sum()
        return filters - direction * direction.square().sum() / (curvature + 1)

    assert gradcheck(optimised, (filters, features))
    assert gradgradcheck(optimised, (filters, features))


def test_works_on_the_meta_device() -> None:
    maps, flow = torch.zeros(2, 3, 8, 9, device="meta"), torch.zeros(2, 2, 8, 9, device="meta")
    assert operators.correlation(maps, maps, 4).shape == (2, 81, 8, 9)
    assert operators.sampled_cost_volume(maps, maps, flow, 4, 1, 2).shape == (2, 81, 4, 5)
    assert operators.splat(maps, flow).shape == maps.shape
