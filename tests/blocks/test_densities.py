"""Match densities against loops over pixels and bins."""

import numpy as np
import pytest
import torch

from flowzoo.blocks.densities import bins_of, radius_of, read_density


def density_of(flow: torch.Tensor, radius: int) -> torch.Tensor:
    """Densities that say `flow`, the mass of its bins in place."""
    place, mass = bins_of(flow, radius)
    batch, _, height, width = flow.shape
    return mass.new_zeros(batch, (2 * radius + 1) ** 2, height, width).scatter_(1, place, mass)


def read_one(logits: np.ndarray) -> tuple[float, float, float]:
    """One pixel: (2c+1)^2 logits -> x, y, confidence."""
    side = round(len(logits) ** 0.5)
    radius = side // 2
    density = np.exp(logits - logits.max())
    density = (density / density.sum()).reshape(side, side)
    best, found = -1.0, (0, 0)
    for top in range(side - 1):
        for left in range(side - 1):
            mass = density[top : top + 2, left : left + 2].sum()
            if mass > best:
                best, found = mass, (top, left)
    top, left = found
    window = density[top : top + 2, left : left + 2]
    return left - radius + window[:, 1].sum() / best, top - radius + window[1].sum() / best, best


@pytest.mark.parametrize("radius", [1, 2, 4, 8])
def test_reading_is_the_mean_of_the_best_window(radius):
    logits = torch.randn(2, (2 * radius + 1) ** 2, 3, 5, dtype=torch.float64) * 3
    reading = read_density(logits)
    assert reading.flow.abs().max() <= radius
    for sample in range(2):
        for row in range(3):
            for column in range(5):
                x, y, confidence = read_one(logits[sample, :, row, column].numpy())
                found = reading.flow[sample, :, row, column]
                assert found.tolist() == pytest.approx([x, y], abs=1e-9)
                assert float(reading.confidence[sample, 0, row, column]) == pytest.approx(confidence, abs=1e-9)


def test_the_first_of_equal_windows_is_read():
    reading = read_density(torch.zeros(1, 25, 1, 1))
    assert reading.flow.flatten().tolist() == [-1.5, -1.5]
    assert float(reading.confidence) == pytest.approx(4 / 25)


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_writing_spreads_bilinearly(radius):
    flow = (torch.rand(2, 2, 4, 6, dtype=torch.float64) * 2 - 1) * (radius + 1)
    density = density_of(flow, radius)
    side = 2 * radius + 1
    bins = torch.arange(-radius, radius + 1, dtype=torch.float64)
    clamped = flow.clamp(-radius, radius)
    x = (1 - (bins.view(1, -1, 1, 1) - clamped[:, :1]).abs()).clamp(min=0)
    y = (1 - (bins.view(1, -1, 1, 1) - clamped[:, 1:]).abs()).clamp(min=0)
    expected = (y.unsqueeze(2) * x.unsqueeze(1)).reshape(2, side * side, 4, 6)
    torch.testing.assert_close(density, expected)


@pytest.mark.parametrize("end", [-3.0, 3.0])
def test_writing_at_the_ends_and_for_unknown_flow(end):
    density = density_of(torch.full((1, 2, 1, 1), end), 3)
    assert float(density.amax()) == 1
    assert int(density.flatten().argmax()) == (0 if end < 0 else 48)
    unknown = density_of(torch.full((1, 2, 1, 1), torch.nan), 3)
    assert int(unknown.flatten().argmax()) == 24


def test_a_written_vector_is_read_back():
    flow = (torch.rand(1, 2, 8, 8, dtype=torch.float64) * 2 - 1) * 3.9
    reading = read_density(torch.log(density_of(flow, 4) + 1e-30))
    torch.testing.assert_close(reading.flow, flow, atol=1e-6, rtol=0)
    torch.testing.assert_close(reading.confidence, torch.ones_like(reading.confidence))


def test_bins_are_four_different_ones():
    place = bins_of(torch.tensor([[-2.0, 2.0], [2.0, 0.0]]).view(1, 2, 1, 2), 2).place
    assert all(len(set(place[0, :, 0, column].tolist())) == 4 for column in range(2))
    assert (radius_of(25), radius_of(81), radius_of(289)) == (2, 4, 8)


def test_only_the_window_that_was_read_gets_gradient_through_it():
    logits = torch.randn(1, 9, 2, 2, dtype=torch.float64, requires_grad=True)
    # The choice of a window is constant around a point, so finite differences see the same function.
    assert torch.autograd.gradcheck(lambda values: read_density(values).flow, (logits,), eps=1e-7, atol=1e-5)


def test_half_precision_logits_are_read_in_single():
    assert read_density(torch.randn(1, 81, 2, 2, dtype=torch.bfloat16)).flow.dtype == torch.float32
