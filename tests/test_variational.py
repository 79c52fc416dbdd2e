"""Variational refinement: kernels against the definition, the definition against dense linear algebra, and its use."""

import numpy as np
import pytest
import torch

from flowzoo.blocks import relaxation, variational
from flowzoo.blocks.variational import VariationalSettings, variational_refinement
from flowzoo.operators import native

SIZES = [(1, 2, 2), (2, 5, 7), (1, 17, 33), (1, 2, 40), (3, 40, 2), (1, 35, 65)]
needs_kernels = pytest.mark.skipif(native.library() is None, reason="no C++ compiler")


def random_system(batch: int, height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    system = torch.rand(batch, 7, height, width, generator=generator)
    system[:, 0] += 1
    system[:, 2] += 1
    system[:, 5, :, -1] = 0
    system[:, 6, -1] = 0
    return system, torch.randn(batch, 2, height, width, generator=generator)


@needs_kernels
@pytest.mark.parametrize("size", SIZES)
def test_the_relaxation_kernel_is_the_definition(size: tuple[int, int, int]) -> None:
    system, step = random_system(*size)
    expected = relaxation.portable_relax(system, step, 3, 1.6)
    torch.testing.assert_close(relaxation.relax(system, step, 3, 1.6), expected, rtol=1e-5, atol=1e-5)


@needs_kernels
@pytest.mark.parametrize("size", SIZES)
def test_the_system_kernel_is_the_definition(size: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    batch, height, width = size
    data = torch.randn(batch, 11, height, width, generator=generator)
    data[:, 8:] = data[:, 8:].abs()
    flow, step = (torch.randn(batch, 2, height, width, generator=generator) for _ in range(2))
    settings = VariationalSettings()
    expected = variational.portable_system(data, flow, step, settings)
    found = variational.system_of(data, flow, step, settings)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_relaxation_solves_the_system() -> None:
    """Against a dense solver on a 4x5 grid."""
    height, width = 4, 5
    system, step = random_system(1, height, width)
    a11, a12, a22, b1, b2, right, below = system[0].double().numpy()
    count = height * width
    matrix, wanted = np.zeros((2 * count, 2 * count)), np.concatenate([b1.ravel(), b2.ravel()])
    for y in range(height):
        for x in range(width):
            i = y * width + x
            matrix[i, i], matrix[i, count + i] = a11[y, x], a12[y, x]
            matrix[count + i, i], matrix[count + i, count + i] = a12[y, x], a22[y, x]
    for y in range(height):
        for x in range(width):
            i = y * width + x
            neighbours = [(i + 1, right[y, x])] * (x + 1 < width) + [(i + width, below[y, x])] * (y + 1 < height)
            for j, weight in neighbours:
                for offset in (0, count):
                    matrix[[i + offset, j + offset], [i + offset, j + offset]] += weight
                    matrix[[i + offset, j + offset], [j + offset, i + offset]] -= weight
    expected = np.linalg.solve(matrix, wanted).reshape(2, height, width)
    found = relaxation.portable_relax(system, step, 200, 1.2)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def moved(shift: tuple[float, float], size: tuple[int, int] = (60, 80)) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth texture and the same texture moved by `shift` (x, y)."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in size), indexing="ij")

    def picture(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        waves = torch.sin(0.31 * x + 0.2 * y) + torch.sin(0.17 * x - 0.41 * y) + torch.sin(0.53 * y + 0.05 * x)
        return (0.5 + waves / 8).expand(1, 3, *size)

    return picture(x, y), picture(x - shift[0], y - shift[1])


def test_it_finds_a_small_motion() -> None:
    first, second = moved((0.7, -0.4))
    flow = variational_refinement(first, second, torch.zeros(1, 2, 60, 80))
    error = (flow - torch.tensor([0.7, -0.4]).view(1, 2, 1, 1)).norm(dim=1)
    assert error[:, 4:-4, 4:-4].mean() < 0.05


def test_it_leaves_a_right_flow_alone() -> None:
    first, second = moved((3.0, 2.0))
    truth = torch.tensor([3.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 60, 80)
    flow = variational_refinement(first, second, truth)
    assert (flow - truth).norm(dim=1)[:, 6:-6, 6:-6].max() < 0.02


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (33, 31)])
def test_any_size_and_no_texture_stay_finite(size: tuple[int, int]) -> None:
    images = torch.zeros(2, 3, *size)
    flow = torch.randn(2, 2, *size) * 50
    assert variational_refinement(images, images, flow).isfinite().all()
    assert variational_refinement(images[:0], images[:0], flow[:0]).shape == (0, 2, *size)
