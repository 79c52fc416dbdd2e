"""Flow carried forward against brute force and the reference's warm start."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flowzoo.flow.propagation import propagated


@pytest.mark.parametrize("name", ["raft-odd", "raft-small-odd"])
def test_start_of_the_reference(shared, name):
    arrays = np.load(shared / "parity" / f"{name}.npz")
    found = propagated(torch.from_numpy(arrays["flow_low_12_sintel"])[None])
    assert np.array_equal(found[0].numpy(), arrays["warm_start_2"])


@pytest.mark.parametrize("spread", [0.5, 6.0, 40.0])
def test_nearest_by_brute_force(spread):
    flow = F.interpolate(torch.randn(2, 2, 4, 6) * spread, size=(37, 53), mode="bilinear")
    y, x = torch.meshgrid(torch.arange(37.0), torch.arange(53.0), indexing="ij")
    grid = torch.stack([x, y])
    for one, found in zip(flow, propagated(flow), strict=True):
        landed = grid + one
        stay = (landed[0] > 0) & (landed[0] < 53) & (landed[1] > 0) & (landed[1] < 37)
        apart = (grid.flatten(1).T[:, None].double() - landed[:, stay].T[None].double()).square().sum(dim=2)
        assert torch.equal(found.flatten(1), one[:, stay][:, apart.argmin(dim=1)])


def test_still_flow_stays_and_lost_flow_is_zero():
    still = torch.zeros(1, 2, 6, 5)
    assert torch.equal(propagated(still), still)
    assert torch.equal(propagated(torch.full((1, 2, 6, 5), 99.0)), still)
    one = torch.zeros(1, 2, 6, 5)
    one[0, :] = 99.0
    one[0, :, 2, 2] = torch.tensor([1.0, -1.0])
    assert torch.equal(propagated(one), torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 6, 5))
    assert propagated(torch.zeros(0, 2, 6, 5)).shape == (0, 2, 6, 5)
