"""Parametric maps fitted to flow, against reference outputs and maps that are known."""

import numpy as np
import pytest
import torch

from flowzoo.flow.fits import affine_fit, fitted_flow, homography_fit, refined_homography


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize(
    ("model", "name", "tolerance"),
    [
        ("affine", "affine", 1e-6),
        ("homography", "homography_dlt", 1e-5),
        ("homography-geometric", "homography_geometric", 2e-3),
    ],
)
def test_fitted_flow(case, model, name, tolerance, shared):
    arrays = np.load(shared / "parity" / "flow-fits.npz")
    flow = torch.from_numpy(arrays[f"flow_{case}"]).double()[None]
    wanted = arrays[f"{name}_flow_{case}"]
    assert np.abs(fitted_flow(flow, model)[0].numpy() - wanted).max() < tolerance
    assert np.abs(fitted_flow(flow.float(), model)[0].numpy() - wanted).max() < max(tolerance, 1e-3)


def flow_of(matrix, height=21, width=34):
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    there = torch.einsum("ij,jhw->ihw", matrix, torch.stack([x, y, torch.ones_like(x)]))
    return (there[:2] / there[2] - torch.stack([x, y]))[None]


def test_exact_maps_are_found_again_image_by_image():
    affine = torch.tensor([[1.02, -0.05, 3.0], [0.04, 0.97, -1.5], [0, 0, 1]], dtype=torch.float64)
    homography = affine.clone()
    homography[2, :2] = torch.tensor([1e-3, -5e-4])
    both = torch.cat([flow_of(affine), flow_of(homography)])
    assert (affine_fit(both)[0] - affine).abs().max() < 1e-9
    found = homography_fit(both)
    assert (found - torch.stack([affine, homography])).abs().max() < 1e-8
    assert (refined_homography(both, found) - found).abs().max() < 1e-8


def test_geometric_fit_has_the_least_error_of_the_three():
    flow = flow_of(torch.eye(3, dtype=torch.float64))
    flow[:, 0, 5:12, 8:20] += 4.0  # an object that moves on its own
    errors = [
        (fitted_flow(flow, model) - flow).square().sum().item() for model in ("homography", "homography-geometric")
    ]
    assert errors[1] <= errors[0]
    assert errors[1] < (fitted_flow(flow, "affine") - flow).square().sum().item()


def test_the_same_flow_has_the_same_fit_wherever_it_lies_in_memory():
    flow = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted, kept = fitted_flow(flow, "affine"), []
    for index in range(100):
        kept += [torch.empty(7 * index + 1), flow.clone()]
        assert torch.equal(fitted_flow(kept[-1], "affine"), wanted)
