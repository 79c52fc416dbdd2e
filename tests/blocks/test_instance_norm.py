"""Instance norm in every memory layout against its definition."""

import pytest
import torch

from flowzoo.blocks.instance_norm import instance_norm


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_mean_and_deviation(batch, gradients, layout):
    maps = (3 * torch.randn(batch, 20, 13, 17) + 2).contiguous(memory_format=layout)
    exact = maps.double()
    mean, variance = exact.mean(dim=(2, 3), keepdim=True), exact.var(dim=(2, 3), correction=0, keepdim=True)
    wanted = (exact - mean) / (variance + 1e-5).sqrt()
    with torch.set_grad_enabled(gradients):
        found = instance_norm(maps.clone(memory_format=torch.preserve_format))
    assert (found.double() - wanted).abs().max() < 1e-5
    assert found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradient(layout):
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(instance_norm, maps)


@pytest.mark.parametrize("gradients", [True, False])
def test_a_single_pixel_is_zero(gradients):
    with torch.set_grad_enabled(gradients):
        assert not instance_norm(torch.randn(2, 3, 1, 1)).any()


def test_rounding_does_not_grow_with_the_pixels():
    maps = (3 * torch.randn(1, 8, 301, 250) + 9).contiguous(memory_format=torch.channels_last)
    exact = maps.double()
    mean, variance = exact.mean(dim=(2, 3), keepdim=True), exact.var(dim=(2, 3), correction=0, keepdim=True)
    with torch.no_grad():
        found = instance_norm(maps)
    assert (found.double() - (exact - mean) / (variance + 1e-5).sqrt()).abs().max() < 3e-6
