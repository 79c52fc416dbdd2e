"""The weighted median at motion boundaries: against a loop over pixels, and what it is for."""

import numpy as np
import pytest
import torch

from flowzoo.blocks.boundary_median import DISAGREEMENT, LIKENESS, SPACING, boundary_median
from flowzoo.operators import native
from flowzoo.operators.boundary_median import definition

SIZES = [(1, 1, 1), (1, 2, 9), (2, 7, 5), (1, 20, 23), (1, 9, 70)]


def pixel_by_pixel(colours: np.ndarray, flow: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """One sample: colours (3,H,W) in 0..255, flow (2,H,W), trust (H,W)."""
    height, width = trust.shape
    result = flow.copy()
    for y in range(height):
        for x in range(width):
            places = [
                (min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1))
                for dy in (-6, -3, 0, 3, 6)
                for dx in (-6, -3, 0, 3, 6)
            ]
            around = np.array([flow[:, j, i] for j, i in places])
            if (np.ptp(around, axis=0) <= 2).all():
                continue
            distances = np.array([((colours[:, j, i] - colours[:, y, x]) ** 2).sum() for j, i in places])
            weights = np.exp(-distances / 200) * np.array([trust[j, i] for j, i in places])
            for component in range(2):
                # The median is the value with the least weighted sum of distances to all of them.
                values = around[:, component]
                costs = [(weights * np.abs(values - value)).sum() for value in values]
                result[component, y, x] = values[int(np.argmin(costs))]
    return result


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("contrast", [0.05, 0.4])
def test_it_is_the_median_of_a_loop(
    size: tuple[int, int, int], contrast: float, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels and native.library() is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("FLOWZOO_NATIVE", str(int(kernels)))
    if kernels:
        monkeypatch.delattr(definition, "boundary_median")  # the kernel must do it
    trusts = []

    def some(first: torch.Tensor, *_: object) -> torch.Tensor:
        trusts.append(torch.rand(first.shape, generator=torch.Generator().manual_seed(1)) + 0.1)
        return trusts[-1]

    monkeypatch.setattr("flowzoo.operators.flow_reliability", some)
    generator = torch.Generator().manual_seed(0)
    batch, height, width = size
    first = 0.5 + contrast * torch.randn(batch, 3, height, width, generator=generator)
    flow = torch.randn(batch, 2, height, width, generator=generator)
    flow[:, :, :, width // 2 :] += 2
    found = boundary_median(first, first, flow)
    for sample in range(batch):
        expected = pixel_by_pixel(
            first[sample].double().numpy() * 255, flow[sample].numpy(), trusts[0][sample, 0].double().numpy()
        )
        np.testing.assert_array_equal(found[sample].numpy(), expected)


def test_a_boundary_moves_to_the_edge_of_the_colours() -> None:
    left = torch.arange(64) < 30
    texture = 0.02 * torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    first = torch.where(left, 0.2, 0.8) + texture
    flow = torch.where(torch.arange(64) < 34, 0.0, 5.0).expand(1, 2, 48, 64)  # four pixels too far to the right
    second = torch.where(left, first, first.roll((5, 5), (2, 3)))
    truth = torch.where(left, 0.0, 5.0).expand(1, 2, 48, 64)
    found = boundary_median(first, second, flow)
    wrong = (found != truth).any(dim=1)[:, 8:-8].float().mean()
    assert wrong < 0.25 * (flow != truth).any(dim=1)[:, 8:-8].float().mean()


def test_images_may_lie_in_memory_in_any_order() -> None:
    """Large ones, whose memory goes back to the system as soon as it is free."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 3, 1500, 2000, generator=generator).unbind()
    flow = torch.randn(1, 2, 1500, 2000, generator=generator) * 3
    found = boundary_median(*(image.contiguous(memory_format=torch.channels_last) for image in (first, second)), flow)
    assert found.equal(boundary_median(first, second, flow))


def test_neighbours_that_agree_are_left_alone() -> None:
    flow = torch.rand(2, 2, 30, 40) * 1.9 + 7
    first, second = torch.rand(2, 2, 3, 30, 40).unbind()
    assert boundary_median(first, second, flow).equal(flow)


@pytest.mark.parametrize("size", [(0, 8, 8), (2, 1, 30), (1, 5, 5)])
def test_flow_that_is_no_number_does_no_harm(size: tuple[int, int, int]) -> None:
    batch, height, width = size
    flow = torch.full((batch, 2, height, width), torch.nan)
    images = torch.rand(batch, 3, height, width)
    assert boundary_median(images, images, flow).shape == flow.shape
    if batch:
        numbers = SPACING, DISAGREEMENT, LIKENESS
        assert definition.boundary_median(images * 255, flow, images[:, :1], *numbers).shape == flow.shape
