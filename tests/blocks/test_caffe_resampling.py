"""The Caffe layers against loops over their definitions, pixel by pixel."""

import math

import pytest
import torch
import torch.nn.functional as F

from flowzoo.blocks.caffe_resampling import downsample, resample


def resample_loop(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resample LINEAR of one (h,w) map, written as the layer's double sum over source pixels."""
    tall, wide = image.shape
    fx, fy = wide / width, tall / height
    ax, ay = (1 / fx, 1 / fy) if max(fx, fy) > 1 else (1.0, 1.0)
    out = torch.zeros(height, width, dtype=image.dtype)
    for y in range(height):
        for x in range(width):
            x_in, y_in = x * fx + fy / 2 - 0.5, y * fy + fx / 2 - 0.5
            total = weights = 0.0
            for v in range(tall):
                for u in range(wide):
                    w = max(0, 1 - abs(ax * (u - x_in))) * max(0, 1 - abs(ay * (v - y_in)))
                    total, weights = total + w * image[v, u].item(), weights + w
            out[y, x] = total / weights
    return out


def downsample_loop(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Downsample of one (h,w) map: a triangle of half-width (n_in-1)/(n_out-1) around the corner-aligned place."""
    tall, wide = image.shape
    sx, sy = (wide - 1) / (width - 1), (tall - 1) / (height - 1)
    out = torch.zeros(height, width, dtype=image.dtype)
    for y in range(height):
        for x in range(width):
            cx, cy = x * sx, y * sy
            total = weights = 0.0
            for v in range(round(cy) - math.ceil(sy), round(cy) + math.ceil(sy) + 1):
                for u in range(round(cx) - math.ceil(sx), round(cx) + math.ceil(sx) + 1):
                    if 0 <= v < tall and 0 <= u < wide:
                        w = max(0, 1 - abs(u - cx) / sx) * max(0, 1 - abs(v - cy) / sy)
                        total, weights = total + w * image[v, u].item(), weights + w
            out[y, x] = total / weights
    return out


@pytest.mark.parametrize("size", [(9, 14), (13, 11), (7, 11), (6, 8), (5, 9)])
def test_resample_is_the_layers_double_sum(size):
    image = torch.rand(7, 11, dtype=torch.float64)
    torch.testing.assert_close(resample(image[None, None], size)[0, 0], resample_loop(image, *size))


@pytest.mark.parametrize("size", [(4, 6), (2, 3), (7, 5)])
def test_downsample_is_the_layers_double_sum(size):
    image = torch.rand(7, 11, dtype=torch.float64)
    torch.testing.assert_close(downsample(image[None, None], size)[0, 0], downsample_loop(image, *size))


def test_equal_factors_enlarge_as_half_pixel_bilinear():
    image = torch.rand(2, 3, 5, 6)
    expected = F.interpolate(image, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(resample(image, (20, 24)), expected)


@pytest.mark.parametrize("function", [resample, downsample])
@pytest.mark.parametrize("sizes", [((1, 1), (1, 1)), ((1, 1), (3, 2)), ((9, 1), (1, 4)), ((32, 32), (1, 1))])
def test_constant_maps_stay_constant_at_any_size(function, sizes):
    image = torch.full((1, 2, *sizes[0]), 0.75)
    torch.testing.assert_close(function(image, sizes[1]), torch.full((1, 2, *sizes[1]), 0.75))
