"""Bilinear resizing, with aligned corners and by centres."""

import pytest
import torch
import torch.nn.functional as F

from flowzoo.blocks.resize import resize, resize_corners
from flowzoo.operators import native

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


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((9, 14), (16, 14)),
        ((16, 14), (9, 14)),
        ((9, 14), (9, 33)),
        ((1, 5), (4, 5)),
        ((436, 8), (448, 8)),
        ((9, 7), (12, 16)),
    ],
    ids=str,
)
@pytest.mark.parametrize("gradients", [False, True])
def test_centres_are_resized_as_pytorch_does_it_in_float64(before, after, channels, gradients):
    maps = torch.rand(2, channels, *before, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(maps.double(), after, mode="bilinear", align_corners=False)
    with torch.set_grad_enabled(gradients):
        found = resize(maps, after)
    assert found.dtype == maps.dtype
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=5e-5)  # PyTorch's places are rounded, too


def test_one_axis_is_resized_without_the_other(monkeypatch):
    if native.library() is None:
        pytest.skip("there are no CPU kernels here")
    monkeypatch.setattr(F, "interpolate", None)
    with torch.no_grad():
        assert resize(torch.rand(1, 3, 9, 14), (16, 14)).shape == (1, 3, 16, 14)
        assert resize(torch.rand(1, 2, 9, 14), (9, 16)).shape == (1, 2, 9, 16)


def test_resizing_is_mapped_by_torch_func():
    maps = torch.rand(3, 1, 3, 9, 14)
    with torch.no_grad():
        mapped = torch.func.vmap(lambda each: resize(each, (16, 14)))(maps)
    torch.testing.assert_close(mapped[:, 0], F.interpolate(maps[:, 0], (16, 14), mode="bilinear"))
