"""HD3's loss against a loop over pixels; the fixtures of the network itself are tested with the network."""

import math

import numpy as np
import pytest
import torch

from flowzoo.errors import InputError
from flowzoo.losses.density import density_loss, density_losses, truth_at
from flowzoo.network import FlowPrediction


def prediction_of(levels: int = 2, radius: int = 1, size: tuple[int, int] = (8, 16)) -> FlowPrediction:
    """Random densities at 1/4 and 1/2 of the size, as a small HD3 would give them."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(size[0] >> (levels - level), size[1] >> (levels - level)) for level in range(levels)]
    bins = (2 * radius + 1) ** 2
    logits = [torch.randn(2, bins, *s, generator=generator, dtype=torch.float64) for s in sizes]
    flows = [torch.randn(2, 2, *s, generator=generator, dtype=torch.float64) * 3 for s in sizes]
    details = {"logits": logits, "level_flows": flows, "network_size": size}
    return FlowPrediction(flow=flows[-1], details=details)


def divergence(logits: np.ndarray, target: np.ndarray, radius: int) -> float:
    """Of one pixel, bin by bin."""
    density = np.exp(logits) / np.exp(logits).sum()
    total = 0.0
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            x, y = np.clip(target, -radius, radius)
            mass = max(0, 1 - abs(x - dx)) * max(0, 1 - abs(y - dy))
            if mass > 0:
                total += mass * (math.log(mass) - math.log(density[(dy + radius) * (2 * radius + 1) + dx + radius]))
    return total


def interpolate_corners(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(2,h,w) -> (2,*size), corners on corners."""
    rows, columns = np.linspace(0, maps.shape[1] - 1, size[0]), np.linspace(0, maps.shape[2] - 1, size[1])
    out = np.empty((2, *size))
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            top, left = min(int(y), maps.shape[1] - 2), min(int(x), maps.shape[2] - 2)
            dy, dx = y - top, x - left
            a, b = maps[:, top, left : left + 2], maps[:, top + 1, left : left + 2]
            out[:, i, j] = (1 - dy) * (a @ [1 - dx, dx]) + dy * (b @ [1 - dx, dx])
    return out


def test_every_pixel_is_the_divergence_from_what_is_left_of_the_true_flow():
    prediction = prediction_of()
    flow = torch.randn(2, 2, 8, 16, dtype=torch.float64) * 4
    found = density_losses(prediction, flow)
    for level, scale in ((0, 4), (1, 2)):
        for sample in range(2):
            logits = prediction.details["logits"][level][sample].numpy()
            size = logits.shape[1:]
            target = interpolate_corners(flow[sample].numpy(), size)
            if level:
                target = target - interpolate_corners(prediction.details["level_flows"][0][sample].numpy(), size)
            target = target / scale
            reachable = (np.abs(target) <= 1).all(0)
            np.testing.assert_array_equal(found[level].reachable[sample], reachable)
            for row in range(size[0]):
                for column in range(size[1]):
                    expected = divergence(logits[:, row, column], target[:, row, column], 1)
                    assert float(found[level].values[sample, row, column]) == pytest.approx(expected, abs=1e-9)


def test_sparse_truth_is_the_mean_of_the_known_pixels_of_a_block():
    flow = torch.randn(1, 2, 8, 12, dtype=torch.float64)
    valid = torch.rand(1, 1, 8, 12) < 0.2
    truth, known = truth_at(torch.where(valid, flow, torch.nan), valid, (2, 3))
    for row in range(2):
        for column in range(3):
            block = (slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
            marks = valid[0, 0][block]
            assert bool(known[0, row, column]) == bool(marks.any())
            expected = flow[0][:, *block][:, marks].mean(1) if marks.any() else torch.zeros(2, dtype=torch.float64)
            torch.testing.assert_close(truth[0, :, row, column], expected, atol=1e-6, rtol=0)


def test_images_of_another_size_than_the_network_uses_scale_the_truth():
    prediction = prediction_of()
    constant = torch.tensor([3.0, -2.0], dtype=torch.float64).view(1, 2, 1, 1)
    inner = density_losses(prediction, constant.expand(2, 2, 8, 16))
    # The same motion seen in an image of half the width and a quarter more height.
    outer = density_losses(prediction, (constant * torch.tensor([0.5, 1.25]).view(1, 2, 1, 1)).expand(2, 2, 10, 8))
    for one, other in zip(inner, outer, strict=True):
        torch.testing.assert_close(one.values, other.values)


def test_levels_are_weighted_and_added():
    prediction, flow = prediction_of(), torch.zeros(2, 2, 8, 16, dtype=torch.float64)
    means = [float(level.values.mean()) for level in density_losses(prediction, flow)]
    assert float(density_loss(prediction, flow)) == pytest.approx(sum(means))
    weighted = density_loss(prediction, flow, level_weights=(0.25, 2))
    assert float(weighted) == pytest.approx(0.25 * means[0] + 2 * means[1])
    hard = density_loss(prediction, flow, share=0.2)
    assert float(hard) > 0


def test_no_truth_at_all_gives_zero_and_finite_gradients():
    prediction = prediction_of()
    for logits in prediction.details["logits"]:
        logits.requires_grad_()
    for share in (1.0, 0.3):
        flow = torch.full((2, 2, 8, 16), torch.nan, dtype=torch.float64)
        loss = density_loss(prediction, flow, torch.zeros(2, 8, 16), share=share)
        loss.backward()
        assert float(loss.detach()) == 0
        assert all(not logits.grad.any() for logits in prediction.details["logits"])


def test_networks_without_densities_and_wrong_weights_are_named():
    with pytest.raises(InputError, match="predicts densities"):
        density_loss(FlowPrediction(flow=torch.zeros(1, 2, 4, 4)), torch.zeros(1, 2, 4, 4))
    with pytest.raises(InputError, match="2 level weights, got 3"):
        density_loss(prediction_of(), torch.zeros(2, 2, 8, 16, dtype=torch.float64), level_weights=(1, 1, 1))
