"""Convolutions of maps that lie in several tensors against the same of one tensor, and against float64."""

import pytest
import torch

from flowzoo.operators import native, native_call
from flowzoo.operators.convolution import convolve_parts, cpu

# Channels of the two parts, outputs, height, width, dilation: more and fewer outputs than channels, chunks of channels
# that end in the first part, at its end and in the second one; no side a multiple of a tile.
TWO = [
    (32, 32, 64, 41, 45, 1),
    (64, 64, 48, 43, 42, 1),
    (96, 41, 70, 45, 49, 1),
    (32, 99, 64, 41, 45, 1),
    (64, 7, 200, 47, 42, 1),
    (160, 64, 32, 83, 90, 1),
    (64, 64, 64, 90, 83, 2),
]


def part(channels, height, width, batch=2, seed=0, beside=0):
    """Channels-last maps, or some channels of wider ones whose others are no numbers."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.full((batch, height, width, channels + 2 * beside), torch.nan).permute(0, 3, 1, 2)
    wide[:, beside : beside + channels] = torch.randn(batch, channels, height, width, generator=generator)
    return wide[:, beside : beside + channels]


def weights(outputs, channels, side):
    generator = torch.Generator().manual_seed(9)
    weight = torch.randn(outputs, channels, side, side, generator=generator)
    return weight.contiguous(memory_format=torch.channels_last), torch.randn(outputs, generator=generator)


@pytest.mark.skipif(native.library() is None, reason="no C++ compiler")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("beside", [0, 5])
@pytest.mark.parametrize("case", TWO, ids=str)
def test_two_parts_give_the_bits_of_one_and_the_values_of_float64(case, beside, threads, monkeypatch):
    monkeypatch.setattr(native_call, "threads_for", lambda flops: threads)
    *channels, outputs, height, width, dilation = case
    parts = [part(count, height, width, seed=seed, beside=beside) for seed, count in enumerate(channels)]
    weight, bias = weights(outputs, sum(channels), 3)
    padding = dilation, dilation
    with torch.no_grad():
        found = convolve_parts(parts, weight, bias, 1, padding, dilation, 0.1)
        whole = torch.cat(parts, dim=1).contiguous(memory_format=torch.channels_last)
        assert found is not None
        assert torch.equal(found, cpu.convolution(whole, weight, bias, dilation, 0.1))
        exact = torch.conv2d(whole.double(), weight.double(), bias.double(), 1, padding, dilation)
    exact = torch.where(exact > 0, exact, 0.1 * exact)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=5e-6 * exact.abs().max().item())


@pytest.mark.parametrize("slope", [0.0, 1.0])
@pytest.mark.parametrize("channels", [(64, 64), (33, 48, 80), (64, 40, 64, 50)])
def test_single_pixels_are_summed_part_by_part(channels, slope, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    parts = [part(count, 19, 31, seed=seed) for seed, count in enumerate(channels)]
    kept = [each.clone() for each in parts]
    weight, bias = weights(37, sum(channels), 1)
    with torch.no_grad():
        found = convolve_parts(parts, weight, bias, 1, (0, 0), 1, slope)
    if found is None:
        assert cpu.both_at_once() is None
        pytest.skip("this PyTorch has no oneDNN")
    exact = torch.conv2d(torch.cat(parts, dim=1).double(), weight.double(), bias.double())
    exact = torch.where(exact > 0, exact, slope * exact)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-6 * exact.abs().max().item())
    assert all(torch.equal(*pair) for pair in zip(parts, kept, strict=True))


def test_what_is_no_gain_is_declined():
    parts = [part(64, 41, 45, seed=seed) for seed in (0, 1)]
    weight, bias = weights(64, 128, 3)
    numbers = 1, (1, 1), 1

    def found(parts, weight=weight, numbers=numbers):
        return convolve_parts(parts, weight, bias, *numbers)

    assert found(parts) is None  # gradients are recorded
    with torch.no_grad():
        assert found(parts[:1], weight[:, :64]) is None
        assert found([each.contiguous() for each in parts]) is None
        assert found([parts[0], parts[1].contiguous()]) is None
        assert found(parts, numbers=(2, (1, 1), 1)) is None
        assert found([each[..., :9, :9] for each in parts]) is None
        assert found([each.double() for each in parts], weight.double()) is None
        assert found([parts[0][:, :40], parts[1]], weight[:, :104]) is None
        with torch.autocast("cpu", torch.bfloat16):
            assert found(parts) is None
