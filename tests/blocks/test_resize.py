"""Bilinear resizing with aligned corners."""

import pytest
import torch
import torch.nn.functional as F

from flowzoo.blocks.resize import resize_corners

SIZES = [((109, 256), (436, 1024)), ((436, 1000), (448, 960)), ((1, 1), (2, 2)), ((5, 7), (1, 3)), ((3, 1), (3, 6))]


@pytest.mark.parametrize(("before", "size"), SIZES)
def test_corners_are_resized_as_pytorch_does_it_in_float64(before, size):
    maps = 100 * torch.randn(2, 2, *before)
    wanted = F.interpolate(maps.double(), size=size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(resize_corners(maps.double(), size), wanted, atol=1e-10, rtol=0)
    # PyTorch's own float32 is off by 4e-3 and 2e-2 in the first two.
    torch.testing.assert_close(resize_corners(maps, size).double(), wanted, atol=1e-4, rtol=0)
    half = maps.bfloat16()
    assert torch.equal(resize_corners(half, size), resize_corners(half.float(), size).bfloat16())


def test_its_gradient_is_the_transpose():
    maps = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda values: resize_corners(values, (7, 5)), maps)


def test_the_right_size_is_left_alone():
    maps = torch.rand(1, 2, 3, 4)
    assert resize_corners(maps, (3, 4)) is maps
