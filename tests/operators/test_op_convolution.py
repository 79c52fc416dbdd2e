"""The convolution with its own weight gradient against PyTorch's in float64."""

import pytest
import torch

from flowzoo.operators import native, native_call
from flowzoo.operators.convolution import convolve, cpu

# Channels that leave vectors partly empty, windows of all shapes, strides and dilations beyond the map's side.
CASES = [
    (2, 20, 7, (3, 3), 1, 1, 9, 11),
    (1, 16, 33, (5, 1), 1, 1, 8, 6),
    (2, 48, 9, (3, 3), 2, 1, 13, 10),
    (1, 70, 5, (3, 3), 1, 8, 6, 7),
    (1, 33, 4, (1, 5), 1, 1, 1, 9),
    (3, 17, 6, (1, 1), 1, 1, 5, 5),
    (1, 100, 65, (7, 7), 2, 1, 30, 41),
    (2, 32, 2, (3, 3), 1, 1, 40, 600),
]
# The same for Winograd's: no side a multiple of the tile, phases of a dilation that differ in size.
WINOGRAD_CASES = [
    (1, 70, 41, (3, 3), 1, 1, 22, 30),
    (2, 33, 64, (3, 3), 1, 1, 13, 34),
    (1, 64, 32, (3, 3), 1, 2, 27, 31),
    (1, 130, 96, (3, 3), 1, 4, 28, 37),
    (3, 64, 100, (3, 3), 1, 1, 5, 97),
]


def inputs(batch, channels, outputs, window, height, width):
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(batch, channels, height, width, generator=generator)
    weight = torch.randn(outputs, channels, *window, generator=generator)
    bias = torch.randn(outputs, generator=generator)
    return maps.contiguous(memory_format=torch.channels_last), weight, bias


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("slope", [1.0, 0.1])
@pytest.mark.parametrize("case", [*CASES, *WINOGRAD_CASES], ids=str)
def test_values_and_gradients_are_those_of_float64(case, slope, threads, monkeypatch):
    batch, channels, outputs, window, stride, dilation, height, width = case
    monkeypatch.setattr(native_call, "threads_for", lambda flops: threads)
    padding = (dilation * (window[0] // 2), dilation * (window[1] // 2))
    given = inputs(batch, channels, outputs, window, height, width)
    ours = [part.clone().requires_grad_() for part in given]
    exact = [part.double().requires_grad_() for part in given]
    assert cpu.suits(*given[:2], stride, padding, dilation) == (case in WINOGRAD_CASES)
    result = convolve(*ours, stride, padding, dilation, slope)
    if native.library() is not None:
        assert type(result.grad_fn).__name__ == "ConvolutionBackward"
    plain = torch.conv2d(*exact, stride, padding, dilation)
    # Rounding must not decide which side of the kink a value is on.
    reference = torch.where(result > 0, plain, slope * plain)
    gradient = torch.randn(result.shape, generator=torch.Generator().manual_seed(2))
    found = (result, *torch.autograd.grad(result, ours, gradient))
    wanted = (reference, *torch.autograd.grad(reference, exact, gradient.double()))
    for part, whole in zip(found, wanted, strict=True):
        scale = whole.abs().max().item()
        torch.testing.assert_close(part.double(), whole, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("channels", [(40, 50), (130, 70)])
def test_number_of_threads_does_not_change_a_bit(channels, monkeypatch):
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        maps, weight, bias = inputs(2, *channels, (3, 3), 12, 37)
        result = convolve(maps.requires_grad_(), weight.requires_grad_(), bias, 1, (1, 1), 1)
        result.square().sum().backward()
        results.append((result, maps.grad, weight.grad))
    for others in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], others, strict=True))


@pytest.mark.parametrize("sizes", [(16, 3, (3, 3), 4, 5), (32, 64, (3, 3), 20, 24)])
@pytest.mark.parametrize("slope", [1.0, 0.1])
def test_second_derivatives_are_those_of_float64(sizes, slope):
    def penalty(maps, weight, bias):
        result = convolve(maps, weight, bias, 1, (1, 1), 1, slope)
        first = torch.autograd.grad(result.square().sum(), (maps, weight), create_graph=True)
        return torch.autograd.grad(sum(part.square().sum() for part in first), (maps, weight, bias))

    given = inputs(1, *sizes)
    found = penalty(*(part.clone().requires_grad_() for part in given))
    wanted = penalty(*(part.double().requires_grad_() for part in given))
    for part, whole in zip(found, wanted, strict=True):
        torch.testing.assert_close(part.double(), whole, rtol=0, atol=1e-5 * whole.abs().max().item())


@pytest.mark.parametrize("sizes", [(16, 3, (3, 3), 4, 5), (32, 64, (3, 3), 20, 24)])
@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 2)])
def test_parts_without_gradient(frozen, sizes):
    given = inputs(1, *sizes)
    ours = [part.requires_grad_(index not in frozen) for index, part in enumerate(given)]
    convolve(*ours, 1, (1, 1), 1).sum().backward()
    assert [part.grad is None for part in ours] == [index in frozen for index in range(3)]
