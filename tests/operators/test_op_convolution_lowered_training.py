"""Convolutions that autocast lowers to bfloat16 while gradients are recorded, against float64."""

import pytest
import torch
from test_op_convolution import inputs

from flowzoo.operators import native, native_call
from flowzoo.operators.convolution import convolve, cpu

# Channels that fill no vector, phases of a dilation, a batch; no side a multiple of the tile.
CASES = [(1, 70, 41, 1, 42, 51), (2, 33, 64, 1, 33, 34), (1, 64, 32, 2, 43, 47)]
STEP = 2**-8  # of a number in bfloat16


@pytest.fixture(autouse=True)
def _without_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "has_tiles", lambda: False)


def given(case: tuple[int, ...]) -> tuple[tuple[torch.Tensor, ...], tuple[int, tuple[int, int], int]]:
    batch, channels, outputs, dilation, height, width = case
    maps, weight, bias = inputs(batch, channels, outputs, (3, 3), height, width)
    leaves = tuple(part.requires_grad_() for part in (maps.bfloat16().float(), weight, bias))
    return leaves, (1, (dilation, dilation), dilation)


def lowered(leaves: tuple[torch.Tensor, ...], numbers: tuple[int, tuple[int, int], int], slope: float) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return convolve(*leaves, *numbers, slope)


@pytest.mark.skipif(native.library() is None, reason="no C++ compiler")
@pytest.mark.parametrize("slope", [1.0, 0.1])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_float64(case: tuple[int, ...], slope: float) -> None:
    leaves, numbers = given(case)
    result = lowered(leaves, numbers, slope)
    assert result.dtype == torch.bfloat16
    assert type(result.grad_fn).__name__ == "ConvolutionBackward"
    exact = [part.detach().double().requires_grad_() for part in leaves]
    plain = torch.conv2d(*exact, *numbers)
    wanted = torch.where(result > 0, plain, slope * plain)
    off = (result.double() - wanted).detach().abs() - STEP * wanted.detach().abs()
    assert float(off.max()) < 1e-4 * float(wanted.detach().abs().max())
    gradient = torch.randn(result.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    to_maps, to_weight, to_bias = torch.autograd.grad(result, leaves, gradient)
    behind = torch.where(result > 0, gradient, gradient * slope).double()  # also rounded to bfloat16
    maps, weight, bias = torch.autograd.grad(plain, exact, behind)
    assert float(((to_maps.double() - maps).abs() - STEP * maps.abs()).max()) < 1e-4 * float(maps.abs().max())
    for found, whole in ((to_weight, weight), (to_bias, bias)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


def test_where_memory_runs_out_it_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "suits_lowered", lambda *arguments: True)
    monkeypatch.setattr(native_call, "run", lambda *arguments, **threads: False)
    leaves, numbers = given(CASES[0])
    found = torch.autograd.grad(lowered(leaves, numbers, 0.1).float().square().sum(), leaves)
    exact = [part.detach().double().requires_grad_() for part in leaves]
    plain = torch.nn.functional.leaky_relu(torch.conv2d(*exact, *numbers), 0.1)
    for part, whole in zip(found, torch.autograd.grad(plain.square().sum(), exact), strict=True):
        assert part.dtype == torch.float32
        assert float((part.double() - whole).norm()) < 0.02 * float(whole.norm())


def test_gradients_can_be_differentiated() -> None:
    leaves, numbers = given(CASES[1])
    exact = tuple(part.detach().double().requires_grad_() for part in leaves)

    def penalty(result: torch.Tensor, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        first = torch.autograd.grad(result.square().sum(), parts[:2], create_graph=True)
        return torch.autograd.grad(sum(part.square().mean() for part in first), parts[1])[0]

    found = penalty(lowered(leaves, numbers, 1.0).float(), leaves)
    wanted = penalty(torch.conv2d(*exact, *numbers), exact)
    assert float((found.double() - wanted).norm()) < 0.03 * float(wanted.norm())
