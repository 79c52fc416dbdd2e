"""Loss max-pooling against equation 4 solved as a linear program."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from flowzoo.errors import InputError
from flowzoo.losses.max_pooling import PixelLoss, max_pooled, mean_of_hardest, mean_over_valid


def largest_weighted_sum(values: np.ndarray, share: float) -> float:
    """max sum w l, w >= 0, sum w <= 1, w <= 1 / (share N)."""
    count = len(values)
    answer = linprog(-values, A_ub=np.ones((1, count)), b_ub=[1.0], bounds=[(0, 1 / (share * count))] * count)
    assert answer.success
    return -answer.fun


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.37, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 9)])
def test_it_is_the_linear_program(share, size):
    values = np.random.default_rng(0).exponential(size=(3, *size))
    found = mean_of_hardest(torch.from_numpy(values), share)
    expected = [largest_weighted_sum(sample.ravel(), share) for sample in values]
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_sparse_ground_truth_counts_its_own_pixels_only(share):
    generator = np.random.default_rng(1)
    values, valid = generator.exponential(size=(4, 6, 8)), generator.random((4, 6, 8)) < 0.3
    valid[3] = False
    found = mean_of_hardest(torch.from_numpy(values), share, torch.from_numpy(valid))
    expected = [largest_weighted_sum(v[m], share) for v, m in zip(values[:3], valid[:3], strict=True)]
    np.testing.assert_allclose(found, [*expected, 0], rtol=1e-7)


def test_pixels_out_of_reach_count_as_zero():
    generator = np.random.default_rng(2)
    values, reachable = generator.exponential(size=(1, 5, 5)), generator.random((1, 5, 5)) < 0.5
    level = PixelLoss(torch.from_numpy(values), reachable=torch.from_numpy(reachable))
    expected = largest_weighted_sum(np.where(reachable, values, 0).ravel(), 0.7)
    assert float(max_pooled(level, 0.7)) == pytest.approx(expected)


def test_only_the_hardest_pixels_get_gradient():
    values = torch.rand(1, 10, 10, requires_grad=True)
    mean_of_hardest(values, 0.1).sum().backward()
    hardest = values.detach().flatten().argsort(descending=True)[:10]
    expected = torch.zeros(100).index_fill_(0, hardest, 0.1)
    torch.testing.assert_close(values.grad.flatten(), expected)


def test_plain_means():
    values = torch.arange(6.0).view(1, 2, 3)
    assert float(mean_over_valid(PixelLoss(values))) == 2.5
    assert float(mean_over_valid(PixelLoss(values, values > 3))) == 4.5
    assert float(mean_over_valid(PixelLoss(values, values > 9))) == 0


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        mean_of_hardest(torch.rand(1, 2, 2), share)
