"""Warping variants against torch's own sampling of all-ones maps."""

import torch
import torch.nn.functional as F

from flowzoo.blocks.alignment import inside_share, warp_features, warp_features_border


def sample(maps: torch.Tensor, flow: torch.Tensor, padding: str) -> torch.Tensor:
    height, width = maps.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([2 * (x + flow[:, 0]) / (width - 1) - 1, 2 * (y + flow[:, 1]) / (height - 1) - 1], dim=-1)
    return F.grid_sample(maps, grid, padding_mode=padding, align_corners=True)


def test_inside_share_is_a_warped_map_of_ones():
    flow = 4 * torch.randn(2, 2, 9, 13, dtype=torch.float64)
    ones = torch.ones(2, 1, 9, 13, dtype=torch.float64)
    torch.testing.assert_close(inside_share(flow), sample(ones, flow, "zeros"))


def test_masked_warp_drops_what_touches_the_outside():
    features, flow = torch.randn(1, 3, 8, 10), 3 * torch.randn(1, 2, 8, 10)
    partial = sample(torch.ones(1, 1, 8, 10), flow, "zeros")
    expected = sample(features, flow, "zeros") * (partial >= 0.9999)
    torch.testing.assert_close(warp_features(features, flow, 0.9999), expected, atol=1e-5, rtol=1e-5)


def test_border_warp_reads_the_edge_and_masks():
    features, flow = torch.randn(1, 3, 8, 10), 3 * torch.randn(1, 2, 8, 10)
    partial = sample(torch.ones(1, 1, 8, 10), flow, "zeros")
    expected = sample(features, flow, "border") * (partial >= 0.9999)
    torch.testing.assert_close(warp_features_border(features, flow, 0.9999), expected, atol=1e-5, rtol=1e-5)


def test_nan_and_infinite_flow_give_zeros():
    flow = torch.zeros(1, 2, 4, 4)
    flow[0, 0, 1, 1], flow[0, 1, 2, 2] = float("nan"), float("inf")
    warped = warp_features(torch.ones(1, 1, 4, 4), flow, 0.5)
    assert warped[0, 0, 1, 1] == 0
    assert warped[0, 0, 2, 2] == 0
    assert torch.isfinite(warped).all()
