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


@pytest.mark.parametrize("batch", [1, 2])
def test_some_channels_of_wider_maps_are_read_where_they_are(batch):
    wide, weight, bias = inputs(batch, 100, 64, (3, 3), 41, 45)
    some = wide[:, 20:61]  # no multiple of a vector, and what lies around it must not be seen
    wide[:, :20] = wide[:, 61:] = float("nan")
    weight = weight[:, :41].contiguous()
    copied = some.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = torch.conv2d(some.double(), weight.double(), bias.double(), padding=1)
        expected = convolve(copied, weight, bias, 1, (1, 1), 1)
        seen, pixel = native_call.reads_pixels("maps", some, some.shape)
        assert (seen.tensor is some, pixel) == (True, 100)
        found = cpu.convolution(some, weight, bias, 1, 1.0)
    assert (found is None) == (native.library() is None)
    if found is not None:
        assert torch.equal(found, expected)
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5 * exact.abs().max().item())


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


# Sides that are no multiples of a tile, channels that are no multiples of a vector, dilation, a batch; without a
# kernel: few channels, a stride, other windows and padding, small maps.
FORWARD_CASES = {
    "odd sizes": ((1, 70, 41, 41, 45), {}),
    "batch": ((3, 64, 32, 61, 66), {}),
    "few of both": ((1, 33, 33, 85, 83), {}),
    "more outputs": ((1, 48, 200, 42, 47), {}),
    "more channels": ((2, 212, 64, 41, 43), {}),
    "dilation": ((1, 64, 64, 83, 90), {"dilation": 4, "padding": (4, 4)}),
}
PLAIN_CASES = {
    "stride": ((1, 64, 64, 44, 44), {"stride": 2}),
    "small map": ((1, 64, 64, 20, 24), {}),
    "few channels": ((1, 24, 64, 36, 36), {}),
    "few outputs": ((1, 64, 2, 44, 44), {}),
    "no padding": ((1, 64, 64, 44, 44), {"padding": (0, 0)}),
}


def forward(maps, weight, bias, stride=1, padding=(1, 1), dilation=1, slope=1.0):
    with torch.no_grad():
        return convolve(maps, weight, bias, stride, padding, dilation, slope)


@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
@pytest.mark.parametrize("slope", [1.0, 0.1])
@pytest.mark.parametrize("name", [*FORWARD_CASES, *PLAIN_CASES])
def test_values_without_gradients_are_those_of_float64(name, slope, last, monkeypatch):
    (batch, channels, outputs, height, width), options = (FORWARD_CASES | PLAIN_CASES)[name]
    maps, weight, bias = inputs(batch, channels, outputs, (3, 3), height, width)
    maps = maps if last else maps.contiguous()
    calls = []
    plain_kernel = cpu.convolution
    monkeypatch.setattr(cpu, "convolution", lambda *given: calls.append(1) or plain_kernel(*given))
    found = forward(maps, weight, None if slope == 1 else bias, slope=slope, **options)
    expects = name in FORWARD_CASES and (last or outputs >= 64) and native.library() is not None
    assert len(calls) == expects
    numbers = {"stride": 1, "padding": (1, 1), **options}
    exact = torch.conv2d(maps.double(), weight.double(), None if slope == 1 else bias.double(), **numbers)
    exact = torch.where(exact > 0, exact, slope * exact)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=5e-6 * exact.abs().max().item())


def test_threads_and_batch_do_not_change_a_bit_without_gradients(monkeypatch):
    maps, weight, bias = inputs(3, 48, 70, (3, 3), 45, 50)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        results += [
            forward(maps, weight, bias, slope=0.1),
            torch.cat([forward(m[None], weight, bias, slope=0.1) for m in maps]),
        ]
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_other_types_and_autocast_are_pytorchs(monkeypatch):
    monkeypatch.setattr(cpu, "has_tiles", lambda: False)
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: False)
    monkeypatch.setattr(cpu, "wins_lowered", lambda *arguments: False)
    maps, weight, bias = inputs(1, 64, 64, (3, 3), 44, 44)
    plain = torch.conv2d(maps.double(), weight.double(), bias.double(), padding=1)
    assert torch.equal(forward(maps.double(), weight.double(), bias.double()), plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(forward(maps, weight, bias), torch.conv2d(maps, weight, bias, padding=1))


def test_not_a_number_and_infinity_stay_near_where_they_are():
    maps, weight, bias = inputs(1, 64, 64, (3, 3), 44, 44)
    exact = forward(maps, weight, bias)
    maps[0, 3, 20, 20] = float("nan")
    found = forward(maps, weight, bias)
    assert found[0, :, 19:22, 19:22].isnan().all()
    far = torch.ones(44, 44, dtype=torch.bool)
    far[15:26, 15:26] = False  # the tile of 4x4 that sees it
    assert torch.equal(found[0][:, far], exact[0][:, far])


@pytest.mark.parametrize("channels", [24, 120])
def test_gradients_in_bfloat16_of_windows_with_gaps(channels: int) -> None:
    """oneDNN's gradient to the weights is not finite here, or ends the process."""
    torch.manual_seed(0)
    weight = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    maps = torch.randn(2, channels, 32, 32).contiguous(memory_format=torch.channels_last)
    plain = torch.nn.functional.conv2d(maps, weight, None, 1, 2, 2)
    wanted = torch.autograd.grad(plain.square().sum(), weight)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = convolve(maps, weight, None, 1, (2, 2), 2)
    assert found.dtype == torch.bfloat16
    gradient = torch.autograd.grad(found.float().square().sum(), weight)[0]
    assert float((gradient - wanted).abs().max()) < 0.02 * float(wanted.abs().max())
