"""Learned doubling by kernels against the transposed convolution that it is, in float64."""

import pytest
import torch
import torch.nn.functional as F

from flowzoo.blocks.upsampling import doubling
from flowzoo.operators import native
from flowzoo.operators.convolution import cpu


@pytest.mark.skipif(native.library() is None, reason="no C++ compiler")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs", "size"), [(40, 2, (9, 17)), (33, 1, (5, 1)), (597, 2, (7, 20))])
def test_few_outputs_are_those_of_a_window(inputs, outputs, size, bias, monkeypatch):
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: True)
    torch.manual_seed(inputs)
    layer = doubling(inputs, outputs)
    if not bias:
        layer.bias = None
    maps = torch.randn(2, inputs, *size).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(maps)
        wanted = F.conv_transpose2d(
            maps.bfloat16().double(),
            layer.weight.bfloat16().double(),
            None if layer.bias is None else layer.bias.double(),
            stride=2,
            padding=1,
        )
        exact = F.conv_transpose2d(
            maps.double(), layer.weight.double(), None if bias is False else layer.bias.double(), stride=2, padding=1
        )
        monkeypatch.setattr(F, "conv_transpose2d", lambda *given, **settings: pytest.fail("no kernel"))
        plain = layer(maps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6 * wanted.abs().max().item())
    torch.testing.assert_close(plain.double(), exact, rtol=0, atol=1e-6 * exact.abs().max().item())


def test_elsewhere_it_is_pytorchs(monkeypatch):
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: False)
    layer, maps = doubling(20, 2), torch.randn(1, 20, 6, 7).contiguous(memory_format=torch.channels_last)
    wanted = F.conv_transpose2d(maps, layer.weight, layer.bias, stride=2, padding=1)
    assert torch.equal(layer(maps), wanted)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(maps).dtype == torch.bfloat16
