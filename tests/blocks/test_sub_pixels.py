"""Sub-pixel convolution and bands, against PyTorch's operators on the whole map in float64."""

import pytest
import torch
import torch.nn.functional as F

from flowzoo.blocks import sub_pixels
from flowzoo.blocks.convolution import Convolution


def layers(*channels):
    torch.manual_seed(3)
    return [Convolution(a, b, 3, padding=1) for a, b in channels]


@pytest.mark.parametrize("recorded", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("channels", "slope"), [((64, 128), 0.1), ((5, 12), 1.0)])
def test_it_is_convolution_leaky_relu_and_pixel_shuffle(channels, slope, recorded):
    (layer,) = layers(channels)
    maps = torch.randn(2, channels[0], 41, 45)
    wanted = F.leaky_relu(
        F.pixel_shuffle(F.conv2d(*(x.double() for x in (maps, layer.weight, layer.bias)), padding=1), 2), slope
    )
    with torch.set_grad_enabled(recorded):
        found = sub_pixels.enlarged(layer, maps, slope)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)


def test_bands_change_no_bit_beyond_rounding(monkeypatch):
    first, last = layers((8, 32), (8, 3))
    maps = torch.randn(2, 8, 23, 17)
    seen = []

    def finish(part):
        seen.append(part.shape[2])
        return last(sub_pixels.enlarged(first, part))

    with torch.no_grad():
        whole = sub_pixels.in_bands(finish, maps, 2)
        assert seen == [23]
        monkeypatch.setattr(sub_pixels, "BAND_PIXELS", 2 * 17 * 8)
        banded = sub_pixels.in_bands(finish, maps, 2)
    assert seen == [23, 12, 16, 11]
    torch.testing.assert_close(banded, whole, rtol=0, atol=1e-6)
    sub_pixels.in_bands(finish, maps, 2).sum().backward()
    assert seen[4:] == [23]  # while gradients are recorded, all is kept anyway
    assert last.weight.grad is not None
