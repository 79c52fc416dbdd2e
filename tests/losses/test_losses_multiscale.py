"""Losses against plain loops."""

import math

import numpy as np
import pytest
import torch

from flowzoo.errors import InputError
from flowzoo.losses.multiscale import PUBLISHED_WEIGHTS, MultiscaleLoss, levels
from flowzoo.losses.penalties import charbonnier, robust_l1
from flowzoo.losses.targets import known_pixels, shrunk
from flowzoo.network import FlowPrediction


@pytest.fixture
def case():
    """A prediction with two flows a level at 2x3 and 4x6, truth at 8x12 that is constant in 4x4 blocks."""
    blocks = torch.randn(2, 2, 2, 3) * 8
    truth = blocks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    pyramid = [torch.randn(2, 2, h, w) * 8 for h, w in ((2, 3), (2, 3), (4, 6), (4, 6))]
    return FlowPrediction(torch.randn(2, 2, 8, 12) * 8, pyramid), truth, blocks


def looped(estimate, truth, penalty, unit):
    """Sum over pixels, mean over samples."""
    total = 0.0
    for b in range(len(estimate)):
        for y in range(estimate.shape[2]):
            for x in range(estimate.shape[3]):
                du, dv = ((estimate[b, :, y, x] - truth[b, :, y, x]) / unit).tolist()
                total += penalty(du, dv)
    return total / len(estimate)


PUBLISHED = {"l2": charbonnier(0.5, 0.01), "charbonnier": charbonnier(0.2, 0.01), "robust": robust_l1(0.4, 0.01)}
PENALTIES = {
    "l2": lambda du, dv: math.sqrt(du * du + dv * dv + 0.01),
    "charbonnier": lambda du, dv: (du * du + dv * dv + 0.01) ** 0.2,
    "robust": lambda du, dv: (abs(du) + abs(dv) + 0.01) ** 0.4,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_losses_are_weighted_sums_over_levels(case, name):
    prediction, truth, blocks = case
    # average shrinking of block-constant flow is exact, so that the reference needs no resampling
    loss = MultiscaleLoss(PUBLISHED[name], shrinking="average")
    half = truth[:, :, ::2, ::2]
    wanted = 0.0
    for estimate, target, weight in zip(
        prediction.pyramid, (blocks, blocks, half, half), (0.32, 0.32, 0.08, 0.08), strict=True
    ):
        wanted += weight * looped(estimate, target, PENALTIES[name], 20)
    assert float(loss(prediction, truth)) == pytest.approx(wanted, rel=1e-4)


def test_the_full_size_counts_beside_the_levels(case):
    prediction, truth, _ = case
    loss = MultiscaleLoss(PUBLISHED["l2"], full_weight=6.25e-4)
    full = looped(prediction.flow, truth, PENALTIES["l2"], 20) * 6.25e-4
    only = FlowPrediction(prediction.flow, [])
    assert float(loss(only, truth)) == pytest.approx(full, rel=1e-4)


def test_means_do_not_depend_on_the_size_of_the_crop():
    error = torch.tensor((3.0, 4.0)).view(1, 2, 1, 1)
    loss = MultiscaleLoss(charbonnier(0.375, 1e-3), (0.5,), 1.0, unit=1.0, reduction="mean")
    for size in ((4, 4), (16, 24)):
        small = size[0] // 2, size[1] // 2
        prediction = FlowPrediction(error.expand(1, 2, *size), [error.expand(1, 2, *small)])
        wanted = 1.5 * (25 + 1e-3) ** 0.375
        assert float(loss(prediction, torch.zeros(1, 2, *size))) == pytest.approx(wanted, rel=1e-5)


def test_unknown_pixels_do_not_count_and_pass_no_gradient(case):
    prediction, truth, _ = case
    valid = torch.rand(2, 8, 12) > 0.4
    spoiled = truth.clone()
    spoiled.permute(0, 2, 3, 1)[~valid] = torch.tensor((float("nan"), 1e9))
    estimate = prediction.flow.clone().requires_grad_()
    loss = MultiscaleLoss(charbonnier(0.5, 0.01), (0.32, 0.08), 1.0, shrinking="average", reduction="mean")
    pyramid = [flow.clone().requires_grad_() for flow in prediction.pyramid]
    value = loss(FlowPrediction(estimate, pyramid), spoiled, valid)
    value.backward()
    assert bool(value.isfinite())
    assert bool((estimate.grad.permute(0, 2, 3, 1)[~valid] == 0).all())
    assert all(bool(flow.grad.isfinite().all()) for flow in pyramid)
    # NaN alone marks unknown pixels just as well
    by_nan = truth.clone()
    by_nan.permute(0, 2, 3, 1)[~valid] = float("nan")
    assert float(loss(prediction, by_nan)) == pytest.approx(value.item(), rel=1e-5)


def test_nothing_known_is_no_loss(case):
    prediction, truth, _ = case
    for reduction in ("sum", "mean"):
        loss = MultiscaleLoss(PUBLISHED["l2"], full_weight=1.0, reduction=reduction)
        assert float(loss(prediction, truth, torch.zeros(2, 8, 12, dtype=torch.bool))) == 0


@pytest.mark.parametrize("how", ["average", "caffe", "bilinear"])
def test_shrunk_flow_is_made_of_known_pixels_only(how):
    flow = torch.full((1, 2, 8, 12), float("inf"))
    flow[:, :, 2:4, 4:6] = 7.0
    values, known = known_pixels(flow, None)
    small, there = shrunk(values, known, (4, 6), how)
    assert int(there.sum()) >= 1
    assert bool((small[there.expand_as(small) > 0] - 7).abs().max() < 1e-4)
    assert bool((small[there.expand_as(small) == 0] == 0).all())


def test_upsampling_compares_with_sparse_truth_at_its_own_pixels(case):
    prediction, truth, _ = case
    valid = torch.zeros(2, 8, 12)
    valid[0, 3, 5] = valid[1, 6, 1] = 1
    loss = MultiscaleLoss(PUBLISHED["charbonnier"], upsample=True)
    wanted = 0.0
    for flow, weight in zip(prediction.pyramid, (0.32, 0.32, 0.08, 0.08), strict=True):
        large = torch.nn.functional.interpolate(flow, size=(8, 12), mode="bilinear", align_corners=False)
        for b, y, x in ((0, 3, 5), (1, 6, 1)):
            du, dv = ((large[b, :, y, x] - truth[b, :, y, x]) / 20).tolist()
            wanted += weight * PENALTIES["charbonnier"](du, dv) / 2
    assert float(loss(prediction, truth, valid)) == pytest.approx(wanted, rel=1e-4)


def test_a_perfect_prediction_has_a_finite_gradient(case):
    _, truth, _ = case
    for penalty in (charbonnier(0.2, 0.01), robust_l1(0.4, 0.01)):
        flow = truth.clone().requires_grad_()
        MultiscaleLoss(penalty, (), 1.0)(FlowPrediction(flow), truth).backward()
        assert bool(flow.grad.isfinite().all())


def test_levels_are_grouped_by_size():
    sizes = [(1, 1), (1, 1), (2, 3), (4, 6), (4, 6), (4, 6)]
    groups = levels([torch.zeros(1, 2, *size) for size in sizes])
    assert [len(group) for group in groups] == [2, 1, 3]


def test_levels_beyond_the_weights_do_not_count(case):
    prediction, truth, _ = case
    one = MultiscaleLoss(charbonnier(0.5, 0.01), (0.32,))
    short = FlowPrediction(prediction.flow, prediction.pyramid[:2])
    assert float(one(prediction, truth)) == float(one(short, truth))
    assert np.allclose(PUBLISHED_WEIGHTS, (0.32, 0.08, 0.02, 0.01, 0.005))


def test_half_precision_predictions_are_compared_in_float32(case):
    prediction, truth, _ = case
    half = FlowPrediction(prediction.flow.bfloat16(), [flow.bfloat16() for flow in prediction.pyramid])
    loss = MultiscaleLoss(PUBLISHED["l2"], full_weight=0.1)
    value = loss(half, truth)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(loss(prediction, truth)), rel=0.02)


@pytest.mark.parametrize(
    "make",
    [
        lambda: charbonnier(0.0, 0.01),
        lambda: robust_l1(0.4, 0.0),
        lambda: MultiscaleLoss(charbonnier(0.5, 0.01), (-1.0,)),
        lambda: MultiscaleLoss(charbonnier(0.5, 0.01), (0.0,)),
    ],
)
def test_losses_that_make_no_sense_are_refused(make):
    with pytest.raises(InputError):
        make()


def test_another_size_is_named(case):
    prediction, truth, _ = case
    with pytest.raises(InputError, match="true flow is"):
        MultiscaleLoss(PUBLISHED["l2"])(prediction, truth[:, :, :-1])
