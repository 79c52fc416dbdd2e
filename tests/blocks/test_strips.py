"""Strips against the whole: equal results, whatever the height and the strip's size."""

import pytest
import torch

import flowzoo
from flowzoo.blocks.strips import in_strips, strip_pixels


@pytest.mark.parametrize("height", [1, 7, 16, 37])
@pytest.mark.parametrize("pixels", [1, 60, 10_000])
def test_a_convolution_stack_in_strips_is_the_whole_one(height, pixels):
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, padding=2), torch.nn.Conv2d(4, 2, 3, padding=2, dilation=2))
    maps = [torch.rand(2, 1, height, 11), torch.rand(2, 2, height, 11)]
    with torch.no_grad():
        whole = layers(torch.cat(maps, dim=1))
        with strip_pixels(pixels):
            (found,) = in_strips(lambda parts: [layers(torch.cat(parts, dim=1))], maps, 4)
    torch.testing.assert_close(found, whole)


def test_a_halo_that_is_too_small_shows():
    layer = torch.nn.Conv2d(1, 1, 5, padding=2)
    image = torch.rand(1, 1, 30, 8)
    with torch.no_grad(), strip_pixels(64):
        (found,) = in_strips(lambda parts: [layer(parts[0])], [image], 1)
        assert not torch.allclose(found, layer(image))


@pytest.mark.parametrize("name", ["liteflownet", "liteflownet2-kitti", "liteflownetx", "pwcnet", "pwcnet-paper"])
def test_a_network_in_strips_gives_the_same_flow(name):
    # In double precision, so that a rounding difference cannot grow into a visible one on random weights.
    network = flowzoo.create(name).double()
    images = torch.rand(2, 1, 3, 200, 90, dtype=torch.float64)
    with torch.inference_mode():
        whole = network(*images).flow
        with strip_pixels(600):
            found = network(*images).flow
    assert whole.abs().max() > 1
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=1e-5)
