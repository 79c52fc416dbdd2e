"""The loss of global matching against a loop."""

import math

import numpy as np
import pytest
import torch

from flowzoo.errors import InputError
from flowzoo.losses.matching import matching_loss
from flowzoo.network import FlowPrediction


def by_loop(scores: np.ndarray, flow: np.ndarray, valid: np.ndarray) -> float:
    """The definition. scores (h,w,h*w), flow (2,H,W), valid (H,W)."""
    height, width, _ = scores.shape
    costs = []
    for y in range(height):
        for x in range(width):
            row, column = int((y + 0.5) * flow.shape[1] / height), int((x + 0.5) * flow.shape[2] / width)
            to_x = x + flow[0, row, column] * width / flow.shape[2]
            to_y = y + flow[1, row, column] * height / flow.shape[1]
            if not valid[row, column] or not (-0.5 <= to_x <= width - 0.5 and -0.5 <= to_y <= height - 0.5):
                continue
            to_x, to_y = min(max(to_x, 0), width - 1), min(max(to_y, 0), height - 1)
            density = np.exp(scores[y, x]) / np.exp(scores[y, x]).sum()
            cost = 0.0
            for py in range(height):
                for px in range(width):
                    share = max(0.0, 1 - abs(px - to_x)) * max(0.0, 1 - abs(py - to_y))
                    if share > 0:
                        cost += share * (math.log(share) - math.log(density[py * width + px] + 1e-5))
            costs.append(cost)
    return float(np.mean(costs)) if costs else 0.0


@pytest.mark.parametrize("size", [(4, 6), (1, 5), (3, 1)])
def test_it_is_its_definition(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    height, width = size
    scores = torch.randn(1, height, width, height * width, generator=generator) * 4
    flow = torch.randn(1, 2, height * 8, width * 8, generator=generator) * 12
    valid = torch.rand(1, height * 8, width * 8, generator=generator) > 0.3
    prediction = FlowPrediction(flow=flow, details={"match_scores": scores})
    expected = by_loop(scores[0].double().numpy(), flow[0].double().numpy(), valid[0].numpy())
    assert float(matching_loss(prediction, flow, valid)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_it_is_least_at_the_truth() -> None:
    """A pixel that moves one and a half positions to the right: half the density on each of the two neighbours."""
    flow = torch.zeros(1, 2, 8, 32)
    flow[:, 0] = 12.0
    best = torch.full((1, 1, 4, 4), -30.0)
    for x in range(3):
        best[0, 0, x, min(x + 1, 3)] = best[0, 0, x, min(x + 2, 3)] = 0.0
    other = best.roll(1, dims=3)
    losses = [
        float(matching_loss(FlowPrediction(flow=flow, details={"match_scores": scores}), flow))
        for scores in (best, other)
    ]
    assert losses[0] == pytest.approx(0.0, abs=1e-3)
    assert losses[1] > 1


def test_unknown_pixels_and_those_that_leave_pass_no_gradient() -> None:
    scores = torch.zeros(1, 2, 2, 4, requires_grad=True)
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0, :, 16:] = 100.0
    flow[:, 0, :16, :16] = float("nan")
    loss = matching_loss(FlowPrediction(flow=flow, details={"match_scores": scores}), flow)
    loss.backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad.abs().sum(dim=3)[0].gt(0).tolist() == [[False, False], [True, False]]


def test_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match="matches globally"):
        matching_loss(FlowPrediction(flow=torch.zeros(1, 2, 8, 8)), torch.zeros(1, 2, 8, 8))
