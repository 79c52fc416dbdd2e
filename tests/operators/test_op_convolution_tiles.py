"""Convolutions by matrix tiles against float64; on processors without them the kernel adds up the same sums itself."""

import pytest
import torch
import torch.nn.functional as F

from flowzoo.errors import InputError
from flowzoo.operators import native, native_call
from flowzoo.operators.convolution import convolve, convolve_into, convolve_partly_lowered, cpu, definition

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C++ compiler")

# Channels, outputs, window, stride, dilation, height, width. Blocks are 8x16 pixels, tiles 32 channels by 16 outputs:
# fewer, just as many and more of each; few channels (a row of the window side by side); phases of different sizes.
CASES = [
    (3, 16, (3, 3), 1, 1, 9, 17),
    (3, 32, (7, 7), 2, 1, 20, 33),
    (16, 5, (1, 5), 1, 1, 11, 7),
    (31, 33, (5, 3), 1, 1, 8, 16),
    (32, 32, (3, 3), 1, 1, 16, 32),
    (33, 17, (3, 3), 1, 4, 23, 50),
    (40, 49, (3, 3), 1, 1, 19, 35),
    (16, 16, (3, 3), 1, 16, 20, 31),
    (9, 20, (3, 3), 1, 5, 4, 90),
    (64, 70, (3, 3), 2, 1, 21, 40),
    (70, 2, (1, 1), 1, 1, 9, 20),
    (117, 40, (3, 3), 1, 1, 1, 1),
    (1, 1, (2, 2), 1, 1, 3, 4),
    (31, 3, (1, 45), 1, 1, 4, 60),
]


def drawn(case, batch=2):
    channels, outputs, window, stride, dilation, height, width = case
    generator = torch.Generator().manual_seed(channels)
    maps = torch.randn(batch, channels, height, width, generator=generator).contiguous(
        memory_format=torch.channels_last
    )
    weight = torch.randn(outputs, channels, *window, generator=generator)
    bias = torch.randn(outputs, generator=generator)
    return maps, weight, bias, stride, tuple(dilation * (side // 2) for side in window), dilation


def exactly(maps, weight, bias, numbers, slope):
    result = F.conv2d(maps.double(), weight.double(), None if bias is None else bias.double(), *numbers)
    return torch.where(result > 0, result, slope * result)


def scale(maps, weight, numbers):
    """The sum of the products' sizes."""
    return F.conv2d(maps.double().abs(), weight.double().abs(), None, *numbers)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("last", [True, False], ids=["weights last", "weights first"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rounded_numbers_are_multiplied_and_summed_in_float32(case, last, threads, monkeypatch):
    monkeypatch.setattr(native_call, "threads_for", lambda flops: threads)
    maps, weight, bias, *numbers = drawn(case)
    if last:
        weight = weight.contiguous(memory_format=torch.channels_last)
    wanted = exactly(maps.bfloat16(), weight.bfloat16(), bias, numbers, 0.1)
    limit = 1e-6 * (1 + scale(maps, weight, numbers))
    wide = torch.full((*wanted.shape[:1], *wanted.shape[2:], wanted.shape[1] + 5), 7.0).permute(0, 3, 1, 2)
    for given in (maps, maps.bfloat16()):
        found = cpu.tile_convolution(given, weight, bias, *numbers, 0.1, lowered=True)
        assert found.dtype == torch.bfloat16
        assert ((found.double() - wanted).abs() <= limit + 2**-8 * wanted.abs()).all()
        into = wide[:, 2:-3]
        cpu.tile_convolution(given, weight, bias, *numbers, 0.1, lowered=True, into=into)
        assert ((into.double() - wanted).abs() <= limit).all()
        assert (wide[:, :2] == 7).all()
        assert (wide[:, -3:] == 7).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_split_numbers_give_nearly_float32(case):
    maps, weight, bias, *numbers = drawn(case)
    size = scale(maps, weight, numbers)
    found = cpu.tile_convolution(maps, weight, bias, *numbers, 1.0, lowered=False)
    wanted = exactly(maps, weight, bias, numbers, 1.0)
    assert found.dtype == torch.float32
    assert ((found.double() - wanted).abs() <= 1.2e-5 * size + 1e-6).all()
    # bfloat16 itself is off by some hundred times as much, and so are two of the three products.
    rounded = exactly(maps.bfloat16(), weight, bias, numbers, 1.0)
    if size.numel() > 100:
        assert (found.double() - wanted).square().mean() < 1e-3 * (rounded - wanted).square().mean()
    half = cpu.tile_convolution(maps.bfloat16(), weight, None, *numbers, 1.0, lowered=False, into=found, add=True)
    assert half is found
    wanted = wanted + exactly(maps.bfloat16(), weight, None, numbers, 1.0)
    assert ((found.double() - wanted).abs() <= 2.4e-5 * size + 2e-6).all()


def test_what_lies_beside_the_channels_is_not_read():
    maps, weight, bias, *numbers = drawn(CASES[6])
    for dtype in (torch.float32, torch.bfloat16):
        wide = torch.full((2, *maps.shape[2:], 60), torch.nan, dtype=dtype).permute(0, 3, 1, 2)
        wide[:, 7:47] = maps
        found = cpu.tile_convolution(wide[:, 7:47], weight, bias, *numbers, 0.1, lowered=True)
        assert torch.equal(found, cpu.tile_convolution(maps.to(dtype), weight, bias, *numbers, 0.1, lowered=True))


@pytest.mark.parametrize("case", [CASES[1], CASES[5], CASES[6]], ids=str)
def test_a_frame_gets_the_same_bits_in_a_batch_and_with_more_threads(case, monkeypatch):
    maps, weight, bias, *numbers = drawn(case, batch=3)
    found = []
    for threads in (1, 5):
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        found.append(cpu.tile_convolution(maps, weight, bias, *numbers, 0.1, lowered=True))
        single = [cpu.tile_convolution(each[None], weight, bias, *numbers, 0.1, lowered=True) for each in maps]
        assert torch.equal(found[-1], torch.cat(single))
    assert torch.equal(*found)


def test_numbers_that_are_none_stay_where_they_are():
    maps, weight, bias, *numbers = drawn((40, 20, (3, 3), 1, 1, 30, 40), batch=1)
    maps[0, 3, 10, 20], maps[0, 39, 20, 30] = torch.nan, torch.inf
    with torch.no_grad():
        found = cpu.tile_convolution(maps, weight, bias, *numbers, 0.1, lowered=True)
    wanted = F.conv2d(maps, weight, bias, *numbers)
    assert torch.equal(found.isfinite().all(1), wanted.isfinite().all(1))
    assert found[0, :, 9:12, 19:22].isnan().all()


def test_results_go_only_where_they_fit():
    maps, weight, bias, *numbers = drawn(CASES[6])
    for into in (torch.empty(2, 49, 19, 35), torch.empty(2, 48, 19, 35, memory_format=torch.channels_last)):
        with pytest.raises(InputError, match="result must have the shape"):
            cpu.tile_convolution(maps, weight, bias, *numbers, 0.1, lowered=True, into=into)


def test_autocast_uses_them_where_much_is_multiplied(monkeypatch):
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: True)
    monkeypatch.setattr(cpu, "has_tiles", lambda: True)
    monkeypatch.setattr(cpu, "lowered_convolution", lambda *arguments: pytest.fail("oneDNN"))
    for case in ((96, 64, (3, 3), 1, 1, 9, 17), (32, 2, (5, 5), 1, 1, 9, 17), (64, 8, (3, 3), 2, 1, 9, 17)):
        maps, weight, bias, *numbers = drawn(case)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found = convolve(maps, weight, bias, *numbers, 0.1)
        wanted = exactly(maps.bfloat16(), weight.bfloat16(), bias, numbers, 0.1)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-4)
    assert not cpu.tiles_win(maps, torch.empty(64, 64, 3, 3), 2, 2)
    assert not cpu.tiles_win(maps, torch.empty(64, 64, 1, 1), 1, 1)
    assert not cpu.tiles_win(maps, torch.empty(64, 32, 3, 3), 1, 1)
    assert not cpu.tiles_win(maps.contiguous(), torch.empty(2, 64, 3, 3), 1, 1)
    assert not cpu.tiles_win(maps, torch.empty(2, 3, 3, 3), 1, 1)


@pytest.mark.parametrize("lowered", [True, False])
def test_into_a_tensor_goes_what_a_new_one_would_hold(lowered, monkeypatch):
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: True)
    monkeypatch.setattr(cpu, "has_tiles", lambda: True)
    maps, weight, bias, *numbers = drawn((96, 64, (3, 3), 1, 1, 41, 45))
    wide = torch.zeros(2, 41, 45, 80, dtype=torch.bfloat16 if lowered else torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=lowered):
        wanted = convolve(maps, weight, bias, *numbers, 0.1)
        other = torch.empty(2, 64, 41, 45)
        convolve_into(other, maps, weight, bias, *numbers, 0.1)
        monkeypatch.setattr(definition, "convolve", lambda *arguments: pytest.fail("made elsewhere and copied"))
        convolve_into(wide[:, 3:67], maps, weight, bias, *numbers, 0.1)
    assert torch.equal(wide[:, 3:67], wanted)
    assert torch.equal(other, wanted.float())
    assert not wide[:, :3].any()
    assert not wide[:, 67:].any()


@pytest.mark.parametrize("there", [True, False])
def test_channels_that_are_known_better_count_so(there, monkeypatch):
    monkeypatch.setattr(cpu, "has_tiles", lambda: there)
    maps, weight, bias, _, padding, _ = drawn((70, 2, (3, 3), 1, 1, 20, 21))
    exact = maps[:, 11:40] + 1e-3
    every = maps.bfloat16().double()
    with torch.no_grad():
        found = convolve_partly_lowered(maps.bfloat16(), exact, 11, weight, bias, padding)
    every[:, 11:40] = exact.double()
    wanted = exactly(every, weight, bias, (1, padding), 1.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5 * wanted.abs().max().item())
