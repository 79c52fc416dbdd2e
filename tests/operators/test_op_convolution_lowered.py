"""Convolutions that autocast lowers to bfloat16, without gradients: against sums in float64 of what bfloat16 holds."""

import pytest
import torch
import torch.nn.functional as F
from test_op_convolution_onednn import CASES, drawn

from flowzoo.operators.convolution import convolve, cpu, definition

SMALL = [(3, 2, (3, 3), 1, 1, 5, 7), (7, 5, (1, 1), 1, 1, 1, 1), (33, 17, (3, 3), 1, 2, 9, 11)]
needs_onednn = pytest.mark.skipif(
    cpu.both_at_once() is None or not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="PyTorch without oneDNN's operator, or a processor that oneDNN has no bfloat16 for",
)


@pytest.fixture(autouse=True)
def _no_kernels(monkeypatch):
    """Those have tests of their own."""
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: False)
    monkeypatch.setattr(cpu, "wins_lowered", lambda *arguments: False)


def finite(case, layout=torch.channels_last):
    if case not in SMALL:
        maps, *rest = drawn(case, layout)
        return torch.nan_to_num(maps, posinf=0.0), *rest
    channels, outputs, window, stride, dilation, height, width = case
    generator = torch.Generator().manual_seed(channels)
    maps = torch.randn(1, channels, height, width, generator=generator).contiguous(memory_format=layout)
    weight = torch.nn.Parameter(torch.randn(outputs, channels, *window, generator=generator))
    bias = torch.nn.Parameter(torch.randn(outputs, generator=generator))
    return maps, weight, bias, stride, tuple(dilation * (side // 2) for side in window), dilation


@needs_onednn
@pytest.mark.parametrize("slope", [1.0, 0.1])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["last", "first"])
@pytest.mark.parametrize("case", CASES + SMALL, ids=str)
def test_sums_are_rounded_once(case, layout, slope, monkeypatch):
    maps, weight, bias, *numbers = finite(case, layout)
    monkeypatch.setattr(definition, "convolve", lambda *arguments: pytest.fail("two passes"))
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            found = convolve(maps, weight, bias, *numbers, slope)
        exact = F.conv2d(*(value.bfloat16().double() for value in (maps, weight, bias)), *numbers)
    exact = torch.where(exact > 0, exact, exact * slope)
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=torch.channels_last)
    # Half a step of a number of eight bits, and what float32 sums are off by, one after another in matrix tiles.
    limit = exact.abs() * 2**-8 * 1.01 + exact.abs().max() * max(1e-5, weight[0].numel() * 1e-8)
    assert ((found.double() - exact).abs() <= limit).all()


@needs_onednn
def test_a_bias_that_is_not_there_and_maps_in_bfloat16():
    maps, weight, _, *numbers = finite(CASES[1])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = convolve(maps, weight, None, *numbers, 0.1)
        again = convolve(maps.bfloat16(), weight, torch.zeros(len(weight)), *numbers, 0.1)
    assert torch.equal(found, again)


@needs_onednn
def test_a_frame_gets_the_same_bits_in_a_batch():
    maps, weight, bias, *numbers = finite(SMALL[2])
    batch = torch.cat([maps, maps.flip(2), maps.flip(3)])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = convolve(batch, weight, bias, *numbers, 0.1)
        assert torch.equal(found[:1], convolve(maps, weight, bias, *numbers, 0.1))


def test_with_gradients_it_is_pytorchs(monkeypatch):
    monkeypatch.setattr(cpu, "lowered_convolution", lambda *arguments: pytest.fail("no gradient"))
    maps, weight, bias, *numbers = finite(CASES[1])
    with torch.autocast("cpu", torch.bfloat16):
        convolve(maps, weight, bias, *numbers, 0.1).sum().backward()
    assert weight.grad is not None


def test_a_processor_without_bfloat16_is_left_to_pytorch(monkeypatch):
    maps, weight, bias, *numbers = finite(CASES[1])
    monkeypatch.setattr(cpu, "both_at_once", lambda: None)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = convolve(maps, weight, bias, *numbers, 0.1)
        assert torch.equal(found, definition.convolve(maps, weight, bias, *numbers, 0.1))
