"""Convolutions to few outputs, and Winograd's of maps in bfloat16, against float64."""

import pytest
import torch
import torch.nn.functional as F

from flowzoo.errors import InputError
from flowzoo.operators import native, native_call
from flowzoo.operators.convolution import convolve, convolve_into, convolve_partly_lowered, cpu, cpu_few_outputs

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C++ compiler")

LAST = torch.channels_last
# Channels, outputs, window, padding, height, width: fewer and more numbers than vectors hold, windows that are larger
# than the maps, paddings that are none or more than the window reaches; rows of several runs of pixels and bands.
CASES = [
    (16, 2, (3, 3), (1, 1), 37, 50),
    (33, 1, (7, 7), (3, 3), 20, 97),
    (70, 8, (3, 3), (1, 1), 9, 20),
    (17, 3, (5, 1), (2, 0), 3, 2),
    (40, 2, (1, 6), (0, 2), 1, 49),
    (19, 5, (2, 3), (0, 0), 4, 5),
    (16, 2, (3, 2), (4, 3), 5, 6),
]
WIDE_CASES = [(64, 64, 1, 24, 41), (70, 101, 2, 23, 40), (100, 65, 1, 45, 50)]
"""Of Winograd's: channels, outputs, dilation, height, width."""


def drawn(channels, outputs, window, height, width, batch=2):
    generator = torch.Generator().manual_seed(channels)
    maps = torch.randn(batch, channels, height, width, generator=generator).contiguous(memory_format=LAST)
    weight = torch.randn(outputs, channels, *window, generator=generator)
    return maps, weight, torch.randn(outputs, generator=generator)


def exactly(maps, weight, bias, **numbers):
    return F.conv2d(maps.double(), weight.double(), None if bias is None else bias.double(), **numbers)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_few_outputs_are_sums_in_float32(case, threads, monkeypatch):
    monkeypatch.setattr(native_call, "threads_for", lambda flops: threads)
    channels, outputs, window, padding, *sides = case
    maps, weight, bias = drawn(channels, outputs, window, *sides)
    for given in (maps, maps.bfloat16()):
        wanted = exactly(given, weight, bias, padding=padding)
        size = exactly(given.abs(), weight.abs(), None, padding=padding) + 1
        wide = torch.full((2, *wanted.shape[2:], outputs + 5), 7.0).permute(0, 3, 1, 2)
        for laid_out in (weight, weight.contiguous(memory_format=LAST)):
            found = cpu_few_outputs.convolution(given, laid_out, bias, padding)
            assert found.dtype == torch.float32
            assert ((found.double() - wanted).abs() <= 1e-6 * size).all()
        into = wide[:, 2:-3]
        cpu_few_outputs.convolution(given, weight, bias, padding, into=into)
        assert torch.equal(into, found)
        cpu_few_outputs.convolution(given, weight, None, padding, into=into, add=True)
        twice = wanted + exactly(given, weight, None, padding=padding)
        assert ((into.double() - twice).abs() <= 2e-6 * size).all()
        assert (wide[:, :2] == 7).all()
        assert (wide[:, -3:] == 7).all()
        single = [cpu_few_outputs.convolution(each[None], weight, bias, padding) for each in given]
        assert torch.equal(found, torch.cat(single))


def test_few_outputs_of_some_channels_see_no_others():
    maps, weight, bias = drawn(40, 2, (3, 3), 20, 60)
    for dtype in (torch.float32, torch.bfloat16):
        wide = torch.full((2, 20, 60, 60), torch.nan, dtype=dtype).permute(0, 3, 1, 2)
        wide[:, 7:47] = maps
        with torch.inference_mode():
            found = cpu_few_outputs.convolution(wide[:, 7:47], weight, bias, (1, 1))
            assert torch.equal(found, cpu_few_outputs.convolution(maps.to(dtype), weight, bias, (1, 1)))
    with pytest.raises(InputError, match="result must have the shape"):
        cpu_few_outputs.convolution(maps, weight, bias, (1, 1), into=torch.empty(2, 2, 20, 60))


def test_inference_uses_the_kernel_for_few_outputs(monkeypatch):
    maps, weight, bias = drawn(40, 2, (3, 3), 20, 60)
    wanted = exactly(maps, weight, bias, padding=1)
    monkeypatch.setattr(cpu, "has_tiles", lambda: False)
    monkeypatch.setattr(F, "conv2d", lambda *given: pytest.fail("PyTorch's"))
    with torch.no_grad():
        found = convolve(maps, weight, bias, 1, (1, 1), 1)
        lowered = convolve_partly_lowered(maps.bfloat16(), maps[:, 5:], 5, weight, bias, (1, 1))
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4)
    assert (lowered.double() - wanted).abs().max() < 0.2  # five of forty channels are rounded
    for other in (weight.new_empty(9, 40, 3, 3), weight[:, :15], weight[:, :, :1, :1], weight.new_empty(2, 40, 30, 3)):
        assert not cpu_few_outputs.wins(maps[:, : other.shape[1]], other, 1, (1, 1), 1)
    assert not cpu_few_outputs.wins(maps, weight, 2, (1, 1), 1)
    assert not cpu_few_outputs.wins(maps, weight, 1, (2, 2), 2)
    assert not cpu_few_outputs.wins(maps.contiguous(), weight, 1, (1, 1), 1)


@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_winograd_reads_and_writes_bfloat16_and_counts_in_float32(case):
    channels, outputs, dilation, *sides = case
    maps, weight, bias = drawn(channels, outputs, (3, 3), *sides)
    for given, dtype in ((maps.bfloat16(), None), (maps.bfloat16(), torch.float32), (maps, torch.bfloat16)):
        wanted = exactly(given, weight, bias, padding=dilation, dilation=dilation)
        wanted = torch.where(wanted > 0, wanted, 0.1 * wanted)
        wide = torch.full((2, *sides, outputs + 5), 7.0, dtype=dtype or torch.bfloat16).permute(0, 3, 1, 2)
        into = None if dtype is None else wide[:, 2:-3]
        found = cpu.convolution(given, weight, bias, dilation, 0.1, into=into)
        rounding = 0 if dtype == torch.float32 else 2**-8
        limit = 5e-6 * wanted.abs().max() + rounding * wanted.abs()
        assert found.dtype == (dtype or torch.bfloat16)
        assert ((found.double() - wanted).abs() <= limit).all()
        assert (wide[:, :2] == 7).all()
        assert (wide[:, -3:] == 7).all()


def test_winograd_of_bfloat16_sees_no_other_channels_and_keeps_what_is_no_number():
    maps, weight, bias = drawn(70, 64, (3, 3), 24, 41)
    maps[0, 3, 12, 20] = torch.nan
    wide = torch.full((2, 24, 41, 90), torch.nan, dtype=torch.bfloat16).permute(0, 3, 1, 2)
    wide[:, 7:77] = maps
    found = cpu.convolution(wide[:, 7:77], weight, bias, 1, 0.1)
    again = cpu.convolution(maps.bfloat16(), weight, bias, 1, 0.1)
    assert torch.equal(found.isnan(), again.isnan())
    assert torch.equal(found.nan_to_num(), again.nan_to_num())
    assert found[0, :, 11:14, 19:22].isnan().all()
    assert found[1].isfinite().all()


@pytest.mark.parametrize("tiles", [True, False])
def test_autocast_uses_winograd_where_there_are_no_tiles(tiles, monkeypatch):
    monkeypatch.setattr(cpu, "has_tiles", lambda: tiles)
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: True)
    calls = []
    kernel = cpu.convolution
    monkeypatch.setattr(cpu, "convolution", lambda *given, **rest: calls.append(1) or kernel(*given, **rest))
    maps, weight, bias = drawn(64, 64, (3, 3), 41, 44)
    wide = torch.zeros(2, 41, 44, 80, dtype=torch.bfloat16).permute(0, 3, 1, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = [convolve(given, weight, bias, 1, (1, 1), 1, 0.1) for given in (maps, maps.bfloat16())]
        convolve_into(wide[:, 3:67], maps, weight, bias, 1, (1, 1), 1, 0.1)
        convolve(maps[:, :, :20], weight, bias, 1, (1, 1), 1, 0.1)  # too few tiles
        convolve(maps, weight[:40], None, 1, (1, 1), 1, 0.1)  # too few tiles for so few outputs
    assert len(calls) == (0 if tiles else 3)
    assert torch.equal(wide[:, 3:67], found[0])
    wanted = exactly(maps, weight, bias, padding=1)
    wanted = torch.where(wanted > 0, wanted, 0.1 * wanted)
    for each in found:
        assert each.dtype == torch.bfloat16
        torch.testing.assert_close(each.double(), wanted, rtol=2**-7, atol=0.3)
