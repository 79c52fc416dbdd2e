"""PyTorch's convolution with the leaky ReLU in the same pass, without gradients: the bits of both in turn."""

import pytest
import torch
import torch.nn.functional as F

from flowzoo.operators.convolution import convolve, cpu, definition

pytestmark = pytest.mark.skipif(cpu.both_at_once() is None, reason="PyTorch without oneDNN's operator")

# Channels, outputs, window, stride, dilation, height, width; each of more than 20480 numbers.
CASES = [
    (3, 32, (5, 5), 2, 1, 70, 128),
    (32, 32, (3, 3), 1, 1, 37, 65),
    (145, 40, (1, 1), 1, 1, 19, 33),
    (24, 48, (3, 3), 1, 4, 29, 40),
    (20, 16, (1, 5), 1, 1, 31, 65),
    (100, 70, (7, 7), 2, 1, 31, 41),
    (96, 1, (3, 3), 1, 1, 31, 41),
]


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def drawn(case, layout=torch.channels_last):
    channels, outputs, window, stride, dilation, height, width = case
    generator = torch.Generator().manual_seed(channels)
    maps = torch.randn(1, channels, height, width, generator=generator)
    maps[0, 0, 3, 4], maps[0, 0, 8, 9] = torch.nan, torch.inf
    weight = torch.nn.Parameter(torch.randn(outputs, channels, *window, generator=generator))
    bias = torch.nn.Parameter(torch.randn(outputs, generator=generator))
    padding = tuple(dilation * (side // 2) for side in window)
    return maps.contiguous(memory_format=layout), weight, bias, stride, padding, dilation


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bits_are_those_of_both_operations(case, bias):
    maps, weight, offset, stride, padding, dilation = drawn(case)
    with torch.no_grad():
        numbers = maps, weight, offset if bias else None, stride, padding, dilation
        plain = F.conv2d(*numbers)
        found = cpu.onednn_convolution(*numbers, 0.1)
        assert found is not None
        assert found.stride() == plain.stride()
        torch.testing.assert_close(found, F.leaky_relu(plain, 0.1), rtol=0, atol=0, equal_nan=True)
    assert plain.isnan().any()


def test_it_is_used_where_there_is_no_kernel_and_no_gradient(monkeypatch):
    numbers = drawn(CASES[0])
    wanted = definition.convolve(*numbers, 0.1).detach()
    monkeypatch.setattr(definition, "convolve", lambda *arguments: pytest.fail("two passes"))
    with torch.no_grad():
        torch.testing.assert_close(convolve(*numbers, 0.1), wanted, rtol=0, atol=0, equal_nan=True)


def test_gradients_are_recorded_as_before():
    *numbers, stride, padding, dilation = drawn(CASES[0])
    convolve(*numbers, stride, padding, dilation, 0.1).sum().backward()
    assert numbers[1].grad is not None


@pytest.mark.parametrize("case", [(16, 8, (3, 3), 1, 1, 32, 40), (128, 8, (1, 1), 1, 1, 10, 16)], ids=str)
def test_what_pytorch_gives_to_other_code_is_left_to_it(case):
    with torch.no_grad():
        assert cpu.onednn_convolution(*drawn(case), 0.1) is None


def test_other_layouts_are_left_to_it():
    with torch.no_grad():
        assert cpu.onednn_convolution(*drawn(CASES[0], torch.contiguous_format), 0.1) is None


def test_so_are_windows_of_a_pixel_on_one_thread():
    numbers = drawn(CASES[2])
    torch.set_num_threads(1)
    with torch.no_grad():
        assert cpu.onednn_convolution(*numbers, 0.1) is None


def test_and_everything_when_onednn_is_switched_off(monkeypatch):
    monkeypatch.setattr(torch._C, "_get_mkldnn_enabled", lambda: False)
    with torch.no_grad():
        assert cpu.onednn_convolution(*drawn(CASES[0]), 0.1) is None
