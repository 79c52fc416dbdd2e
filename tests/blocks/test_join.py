"""Maps that are joined for a convolution: their order, their type and where they lie in memory."""

import pytest
import torch

from flowzoo.blocks.convolution import join
from flowzoo.blocks.normalised_convolution import NormalisedConvolution

LAST = torch.channels_last


@pytest.mark.parametrize("size", [(41, 40), (20, 20)], ids=["large", "small"])
@pytest.mark.parametrize("batch", [1, 2])
def test_channels_stand_in_order_whatever_the_layouts(size, batch):
    one = torch.randn(batch, 1, *size)
    two = torch.randn(batch, 2, *size, dtype=torch.bfloat16)
    many = torch.randn(batch, 20, *size).contiguous(memory_format=LAST)
    with torch.no_grad():
        joined = join(one, None, two, many)
    assert joined.dtype == torch.float32
    for place, part in ((0, one), (1, two), (3, many)):
        assert torch.equal(joined[:, place : place + part.shape[1]], part.float())
    assert joined.is_contiguous(memory_format=LAST) == (size == (41, 40))


def test_what_is_not_channels_last_stays_so():
    with torch.no_grad():
        assert join(torch.randn(1, 5, 50, 50), torch.randn(1, 3, 50, 50)).is_contiguous()


def test_gradients_flow_through():
    parts = [torch.randn(1, 3, 50, 50, requires_grad=True), torch.randn(1, 4, 50, 50).contiguous(memory_format=LAST)]
    join(*parts).sum().backward()
    assert torch.equal(parts[0].grad, torch.ones_like(parts[0]))


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("outputs", [64, 20])
def test_the_folded_norm_and_its_relu_are_those_of_three_layers(outputs, last, active):
    torch.manual_seed(2)
    layer = NormalisedConvolution(32, outputs, active=active).eval()
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    maps = torch.randn(1, 32, 45, 50).contiguous(memory_format=LAST if last else torch.contiguous_format)
    with torch.no_grad():
        found = layer(maps)
        exact = layer.norm.double()(torch.conv2d(maps.double(), layer.convolution.weight.double(), padding=1))
    expected = exact.clamp_min(0) if active else exact
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
