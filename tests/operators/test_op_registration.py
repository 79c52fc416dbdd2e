"""What torch expects of registered operators: derivatives of both orders, opcheck, compile, export, autocast."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

from flowzoo import operators

OPERATORS = ["correlate", "gather", "scatter", "sampled_volume", "sampled_volume_backward", "splat"]
OPERATORS += ["convex_upsampling", "convex_upsampling_backward"]


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def off_grid_flow(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Flow whose fractions stay within [0.2, 0.8]: no kinks inside a finite difference."""
    flow = (2 * torch.randn(*shape, dtype=dtype)).floor() + 0.2 + 0.6 * torch.rand(*shape, dtype=dtype)
    return flow.requires_grad_()


def operator_inputs(name: str, batch: int, height: int, width: int, dtype: torch.dtype) -> list[tuple[object, ...]]:
    """Sample arguments of each registered operator."""
    maps = [random(batch, 3, height, width, dtype=dtype) for _ in range(2)]
    volume = random(batch, 9, height, width, dtype=dtype)
    flow = off_grid_flow(batch, 2, height, width, dtype=dtype)
    if name == "correlate":
        return [(*maps, 1, 2, 0.5)]
    if name in ("gather", "scatter"):
        return [(volume, maps[0], 1, 2, 0.5)]
    if name == "sampled_volume":
        return [(*maps, flow, 1, dilation, 1, absolute) for dilation, absolute in ((1, False), (2, True))]
    if name == "sampled_volume_backward":
        return [(volume, *maps, flow, 1, dilation, 1, absolute) for dilation, absolute in ((1, False), (2, True))]
    if name.startswith("convex_upsampling"):
        logits = random(batch, 36, height, width, dtype=dtype)
        gradient = random(batch, 2, 2 * height, 2 * width, dtype=dtype)
        return [(flow, logits, 2) if name == "convex_upsampling" else (gradient, flow, logits, 2)]
    return [(maps[0], flow)]


@pytest.mark.parametrize("size", [(1, 4, 5), (0, 4, 5), (2, 1, 1)])
@pytest.mark.parametrize("name", OPERATORS)
def test_opcheck(name: str, size: tuple[int, int, int]) -> None:
    for index, arguments in enumerate(operator_inputs(name, *size, torch.float32)):
        if name == "sampled_volume_backward" and (index or size[0] != 1):
            # Tracing its own backward takes many seconds: once is enough.
            arguments = tuple(a.detach() if isinstance(a, Tensor) else a for a in arguments)
        opcheck(getattr(torch.ops.flowzoo, name).default, arguments)


@pytest.mark.parametrize("name", OPERATORS)
def test_first_and_second_derivatives(name: str) -> None:
    operator = getattr(torch.ops.flowzoo, name).default
    for arguments in operator_inputs(name, 1, 3, 4, torch.float64):
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        numbers = arguments[len(tensors) :]

        def call(*inputs: Tensor, numbers: tuple[object, ...] = numbers) -> object:
            return operator(*inputs, *numbers)

        assert gradcheck(call, tensors)
        if name != "sampled_volume_backward":  # itself a first derivative: its gradcheck above is of second order
            assert gradgradcheck(call, tensors, fast_mode=True)


PUBLIC: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "correlation": lambda a, b, f: operators.correlation(a, b, 2),
    "correlation, stride 2": lambda a, b, f: operators.correlation(a, b, 1, 2, 2),
    "transpose": lambda a, b, f: operators.correlation_transpose(operators.correlation(a, b, 1), b, 1),
    "sampled": lambda a, b, f: operators.sampled_cost_volume(a, b, f, 1),
    "sampled sad": lambda a, b, f: operators.sampled_cost_volume(a, b, f, 1, 1, 2, "sad"),
    "splat": lambda a, b, f: operators.splat(a, f),
    "local convolution": lambda a, b, f: operators.local_convolution(a, operators.correlation(a, b, 1), 3),
}


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
    sides = {2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    program = torch.export.export(Call(name), inputs, dynamic_shapes=(sides, sides, sides))
    for size in ((6, 8), (9, 10)):
        other = public_inputs(*size)
        assert torch.allclose(program.module()(*other), PUBLIC[name](*other), atol=1e-6)


@pytest.mark.parametrize("name", PUBLIC)
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
    filters, features = random(1, 2, 3, 4), random(1, 2, 3, 4)

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
