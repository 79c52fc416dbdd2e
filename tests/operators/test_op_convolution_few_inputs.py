"""Convolutions of few channels, such as images', against float64."""

import pytest
import torch
import torch.nn.functional as F

from flowzoo.operators import native, native_call
from flowzoo.operators.convolution import convolve, cpu, cpu_few_inputs

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C++ compiler")

# Channels, outputs, window, stride, padding, height, width: outputs that fill vectors, and that do not; odd and even
# runs of a window's numbers; windows larger than the maps, paddings of more; several blocks, bands and tasks.
CASES = [
    (3, 32, (7, 7), 1, (3, 3), 40, 50),
    (3, 24, (5, 5), 2, (2, 2), 37, 51),
    (4, 65, (3, 3), 3, (1, 1), 20, 16),
    (3, 22, (3, 3), 1, (1, 1), 9, 33),
    (1, 17, (2, 5), 1, (0, 1), 3, 7),
    (2, 16, (6, 1), 2, (3, 0), 2, 29),
    (3, 40, (3, 2), 2, (4, 3), 5, 6),
]
half_products = pytest.mark.skipif(not cpu.multiplies_halves(), reason="no products of bfloat16 numbers here")


def drawn(channels, outputs, window, height, width):
    generator = torch.Generator().manual_seed(channels * outputs)
    maps = torch.randn(2, channels, height, width, generator=generator)
    weight = torch.randn(outputs, channels, *window, generator=generator)
    return maps, weight, torch.randn(outputs, generator=generator)


def exactly(maps, weight, bias, stride, padding, slope):
    wanted = F.conv2d(maps.double(), weight.double(), None if bias is None else bias.double(), stride, padding)
    return torch.where(wanted > 0, wanted, slope * wanted)


def layouts(maps):
    """The same numbers in planes, beside each other, and among others."""
    wide = torch.full((2, 9, maps.shape[1] + 3, maps.shape[2], maps.shape[3] + 4), torch.nan)
    wide[:, 5, 2:-1, :, 3:-1] = maps
    return maps, maps.contiguous(memory_format=torch.channels_last), wide[:, 5, 2:-1, :, 3:-1]


@pytest.mark.parametrize("lowered", [False, pytest.param(True, marks=half_products)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_few_channels_are_convolved_with_sums_in_float32(case, lowered, monkeypatch):
    channels, outputs, window, stride, padding, *sides = case
    maps, weight, bias = drawn(channels, outputs, window, *sides)
    given = (maps.bfloat16(), weight.bfloat16()) if lowered else (maps, weight)
    size = exactly(maps.abs(), weight.abs(), None, stride, padding, 1) + 1
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        for laid_out in (weight, weight.contiguous(memory_format=torch.channels_last)):
            numbers = laid_out, bias, stride, padding, 0.1
            found += [cpu_few_inputs.convolution(each, *numbers, lowered=lowered) for each in layouts(maps)]
    wanted = exactly(*given, bias, stride, padding, 0.1)
    limit = 1e-6 * size + (2**-8 * wanted.abs() if lowered else 0)
    assert found[0].dtype == given[0].dtype
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert ((found[0].double() - wanted).abs() <= limit).all()
    assert all(torch.equal(found[0], each) for each in found)
    single = [cpu_few_inputs.convolution(each[None], *numbers, lowered=lowered) for each in maps]
    assert torch.equal(found[0], torch.cat(single))
    without = cpu_few_inputs.convolution(maps, weight, None, stride, padding, 1.0, lowered=lowered)
    wanted = exactly(*given, None, stride, padding, 1.0)
    assert ((without.double() - wanted).abs() <= 1e-6 * size + (2**-8 * wanted.abs() if lowered else 0)).all()


@pytest.mark.parametrize("lowered", [False, pytest.param(True, marks=half_products)], ids=["float32", "bfloat16"])
def test_what_is_no_number_stays_in_its_windows(lowered):
    maps, weight, bias = drawn(3, 32, (5, 5), 20, 31)
    maps[0, 1, 9, 12] = torch.inf
    found = cpu_few_inputs.convolution(maps, weight, bias, 1, (2, 2), 1.0, lowered=lowered)
    outside = torch.ones_like(found, dtype=torch.bool)
    outside[0, :, 7:12, 10:15] = False
    assert torch.equal(found.isfinite(), outside)


def test_inference_uses_the_kernel_for_few_channels(monkeypatch):
    maps, weight, bias = drawn(3, 32, (5, 5), 20, 31)
    wanted = exactly(maps, weight, bias, 2, (2, 2), 0.1)
    monkeypatch.setattr(F, "conv2d", lambda *given: pytest.fail("PyTorch's"))
    monkeypatch.setattr(cpu, "both_at_once", lambda: pytest.fail("oneDNN's"))
    numbers = 2, (2, 2), 1, 0.1
    with torch.no_grad():
        torch.testing.assert_close(convolve(maps, weight, bias, *numbers).double(), wanted, rtol=0, atol=1e-4)
        if cpu.multiplies_halves():
            with torch.autocast("cpu", torch.bfloat16):
                half = convolve(maps, weight, bias, *numbers)
            assert half.dtype == torch.bfloat16
            torch.testing.assert_close(half.double(), wanted, rtol=0.02, atol=0.2)
    for other in (weight[:15], weight[:, :, :1, :1], weight.new_empty(32, 5, 5, 5), weight.new_empty(32, 3, 30, 5)):
        assert not cpu_few_inputs.wins(maps, other, (2, 2), 1, lowered=False)
    assert not cpu_few_inputs.wins(maps, weight, (2, 2), 2, lowered=False)
    assert not cpu_few_inputs.wins(maps.double(), weight, (2, 2), 1, lowered=False)
