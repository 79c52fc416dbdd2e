"""Multi-scale loss with max-pooling, against the plain loss and a loop over levels."""

import numpy as np
import pytest
import torch

from flowzoo.errors import InputError
from flowzoo.losses.multiscale import MultiscaleLoss
from flowzoo.losses.penalties import charbonnier
from flowzoo.losses.pooled_multiscale import PooledMultiscaleLoss
from flowzoo.network import FlowPrediction

PENALTY = charbonnier(0.5, 0.01)


def prediction() -> FlowPrediction:
    pyramid = [torch.randn(2, 2, 4, 6) * 3, torch.randn(2, 2, 8, 12) * 3]
    return FlowPrediction(flow=torch.randn(2, 2, 16, 24), pyramid=pyramid)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_everything_within_reach_and_kept_is_the_plain_loss(reduction, upsample, sparse):
    settings = {"level_weights": (0.3, 0.7), "full_weight": 0.2, "reduction": reduction, "upsample": upsample}
    found, flow = prediction(), torch.randn(2, 2, 16, 24)
    # The same number of known pixels in both samples: the published sum and the pooled mean then agree.
    valid = (torch.rand(16, 24) < 0.3).expand(2, 16, 24) if sparse else None
    plain = MultiscaleLoss(PENALTY, **settings)(found, flow, valid)
    pooled = PooledMultiscaleLoss(PENALTY, **settings, reach=float("inf"))(found, flow, valid)
    torch.testing.assert_close(pooled, plain)


def test_the_hardest_reachable_pixels_of_every_level():
    found = prediction()
    flow = torch.randn(2, 2, 16, 24) * 12
    loss = PooledMultiscaleLoss(
        PENALTY, (0.3, 0.7), unit=1.0, reduction="mean", shrinking="average", share=0.25, reach=2
    )
    expected = 0.0
    for weight, level, scale in ((0.3, 0, 4), (0.7, 1, 2)):
        estimate = found.pyramid[level].numpy()
        truth = flow.numpy().reshape(2, 2, 16 // scale, scale, 24 // scale, scale).mean((3, 5))
        rest = truth
        if level:
            coarse = torch.nn.functional.interpolate(found.pyramid[0], scale_factor=2, mode="bilinear")
            rest = truth - coarse.numpy()
        cost = np.sqrt(((estimate - truth) ** 2).sum(1) + 0.01)
        cost[(np.abs(rest) > 2 * scale).any(1)] = 0
        ordered = -np.sort(-cost.reshape(2, -1), axis=1)
        count = ordered.shape[1] // 4
        expected += weight * ordered[:, :count].mean()
    assert float(loss(found, flow)) == pytest.approx(expected, rel=1e-5)


def test_wrong_numbers_are_named():
    with pytest.raises(InputError, match="share above 0"):
        PooledMultiscaleLoss(PENALTY, share=0)
    with pytest.raises(InputError, match="reach above 0"):
        PooledMultiscaleLoss(PENALTY, reach=-1)
