"""Smoothed grey levels, contrasts and means of areas against loops over pixels."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flowzoo import operators

pytestmark = pytest.mark.usefixtures("native_and_portable")

SIZES = [(1, 1, 1), (2, 5, 7), (1, 1, 40), (1, 40, 1), (1, 37, 65), (1, 2, 3)]
WEIGHTS = [[1.0], [0.25, 0.5, 0.25], [0.1, 0.2, 0.4, 0.2, 0.1], [0.05, 0.1, 0.05, 0.4, 0.2, 0.1, 0.1]]
AREAS = [(1, 1), (3, 4), (19, 33), (5, 80)]


def drawn(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height * width))


def smoothed(grey: np.ndarray, weights: list[float]) -> np.ndarray:
    """(H,W) -> (H,W): the sum over both axes' neighbours, edges replicated."""
    height, width = grey.shape
    reach, out = len(weights) // 2, np.zeros_like(grey)
    for y in range(height):
        for x in range(width):
            for j, down in enumerate(weights):
                for i, across in enumerate(weights):
                    row, column = min(max(y + j - reach, 0), height - 1), min(max(x + i - reach, 0), width - 1)
                    out[y, x] += down * across * grey[row, column]
    return out


@pytest.mark.parametrize("weights", WEIGHTS, ids=len)
@pytest.mark.parametrize("size", SIZES)
def test_greys_are_weighted_means_of_neighbours(size: tuple[int, int, int], weights: list[float]) -> None:
    images = drawn(*size)
    greys = 255 * images.double().mean(dim=1).numpy()
    wanted = np.stack([smoothed(grey, weights) for grey in greys])[:, None]
    np.testing.assert_allclose(operators.smoothed_greys(images, weights).numpy(), wanted, rtol=0, atol=2e-4)


@pytest.mark.parametrize("size", SIZES)
def test_contrasts_are_differences_to_two_neighbours(size: tuple[int, int, int]) -> None:
    colours = 255 * drawn(*size)
    wanted = np.zeros((size[0], 2, *size[1:]))
    values = colours.double().numpy()
    for sample, y, x in np.ndindex(*size):
        here = values[sample, :, y, x]
        if x + 1 < size[2]:
            wanted[sample, 0, y, x] = max(abs(values[sample, :, y, x + 1] - here))
        if y + 1 < size[1]:
            wanted[sample, 1, y, x] = max(abs(values[sample, :, y + 1, x] - here))
    np.testing.assert_allclose(operators.contrasts(colours).numpy(), wanted, rtol=1e-6, atol=1e-4)


def test_a_colour_that_is_no_number_makes_contrasts_that_are_none() -> None:
    colours = 255 * drawn(1, 4, 20)
    colours[0, 0, 2, 3] = torch.nan
    missing = operators.contrasts(colours).isnan().nonzero().tolist()
    assert sorted(missing) == [[0, 0, 2, 2], [0, 0, 2, 3], [0, 1, 1, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("to", [*AREAS, "half"])
@pytest.mark.parametrize("size", SIZES)
def test_means_are_those_of_the_pixels_that_are_covered(size: tuple[int, int, int], to: tuple[int, int] | str) -> None:
    maps = drawn(*size)
    height, width = size[1:]
    rows, columns = (-(-height // 2), -(-width // 2)) if isinstance(to, str) else to
    wanted = np.zeros((size[0], 3, rows, columns))
    for y in range(rows):
        for x in range(columns):
            lines = slice(math.floor(y * height / rows + 1e-9), math.ceil((y + 1) * height / rows - 1e-9))
            places = slice(math.floor(x * width / columns + 1e-9), math.ceil((x + 1) * width / columns - 1e-9))
            wanted[..., y, x] = maps.double().numpy()[:, :, lines, places].mean(axis=(2, 3))
    np.testing.assert_allclose(operators.area_means(maps, rows, columns).numpy(), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(2, 38, 64), (1, 37, 66), (1, 41, 65)])
def test_means_have_the_bits_of_pytorchs(size: tuple[int, int, int]) -> None:
    """What follows in the refinement is sensitive to the last bits."""
    maps = drawn(*size)
    half = -(-size[1] // 2), -(-size[2] // 2)
    assert torch.equal(operators.area_means(maps, *half), F.interpolate(maps, half, mode="area"))
