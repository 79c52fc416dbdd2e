"""f-lcon and the brightness error against their formulas, pixel by pixel."""

import math

import torch

from flowzoo.blocks.local_regularisation import FlowFilter, brightness_error


def test_filter_is_a_softmax_weighted_mean_of_the_window():
    torch.manual_seed(1)
    window, height, width = 3, 4, 5
    distances, flow = torch.randn(1, 9, height, width), torch.randn(1, 2, height, width)
    found = FlowFilter(window)(distances, flow)
    for y in range(height):
        for x in range(width):
            weights = [math.exp(-(distances[0, k, y, x].item() ** 2)) for k in range(9)]
            for axis in (0, 1):
                total = 0.0
                for k in range(9):
                    v, u = y + k // 3 - 1, x + k % 3 - 1
                    if 0 <= v < height and 0 <= u < width:
                        total += weights[k] * flow[0, axis, v, u].item()
                assert abs(found[0, axis, y, x].item() - total / sum(weights)) < 1e-5


def test_brightness_error_counts_every_colour_and_has_a_gradient_at_zero():
    first = torch.tensor([1.0, 2.0, 2.0]).view(1, 3, 1, 1).repeat(2, 1, 4, 4)
    error = brightness_error(first, torch.zeros_like(first), torch.zeros(2, 2, 4, 4))
    torch.testing.assert_close(error, torch.full((2, 1, 4, 4), 3.0))
    flow = torch.zeros(2, 2, 4, 4, requires_grad=True)
    brightness_error(first, first, flow).sum().backward()
    assert torch.isfinite(flow.grad).all()
