"""Variational refinement: kernels against the definition, the definition against dense linear algebra, and its use."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from flowzoo.blocks.boundary_median import boundary_median
from flowzoo.blocks.variational import EPSILON, LEAST, NORMALISER, VariationalSettings, variational_refinement
from flowzoo.errors import InputError
from flowzoo.operators import (
    flow_reliability,
    native,
    native_call,
    relaxation,
    variational_data,
    variational_step,
    variational_system,
)
from flowzoo.operators.relaxation import definition as relaxation_definition
from flowzoo.operators.variational import definition as variational_definition
from flowzoo.operators.variational.definition import StepNumbers

SIZES = [(1, 2, 2), (2, 5, 7), (1, 17, 33), (1, 2, 40), (3, 40, 2), (1, 35, 65), (1, 20, 48)]
TRUST = NORMALISER, VariationalSettings.mismatch, LEAST
WEIGHTS = VariationalSettings.alpha, VariationalSettings.delta, VariationalSettings.gamma, EPSILON
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
def test_the_relaxation_kernel_is_the_definition(size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    system, step = random_system(*size)
    expected = relaxation_definition.relaxation(system, step, 3, 1.6)
    monkeypatch.delattr(relaxation_definition, "relaxation")  # the kernel must do it
    torch.testing.assert_close(relaxation(system, step, 3, 1.6), expected, rtol=1e-5, atol=1e-5)


@needs_kernels
@pytest.mark.parametrize("size", SIZES)
def test_the_system_kernel_is_the_definition(size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    batch, height, width = size
    data = torch.randn(batch, 11, height, width, generator=generator)
    data[:, 8:] = data[:, 8:].abs()
    flow, step = (torch.randn(batch, 2, height, width, generator=generator) for _ in range(2))
    edges = torch.rand(batch, 2, height, width, generator=generator)
    expected = variational_definition.variational_system(data, edges, flow, step, *WEIGHTS)
    monkeypatch.delattr(variational_definition, "variational_system")  # the kernel must do it
    found = variational_system(data, edges, flow, step, *WEIGHTS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@needs_kernels
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("largest", [0.5, 30.0])
def test_the_linearisation_kernel_is_the_definition(
    size: tuple[int, int, int], largest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(2)
    batch, height, width = size
    first, second = (torch.rand(batch, 1, height, width, generator=generator) * 255 for _ in range(2))
    flow = torch.randn(batch, 2, height, width, generator=generator) * largest
    expected = variational_definition.variational_data(first, second, flow, *TRUST)
    monkeypatch.delattr(variational_definition, "variational_data")  # the kernel must do it
    found = variational_data(first, second, flow, *TRUST)
    torch.testing.assert_close(found[:, :8], expected[:, :8], rtol=1e-3, atol=0.02)  # of 255
    # A small gradient makes a weight as uncertain as the gradient's square.
    likely = expected[:, 8:] < 0.1
    torch.testing.assert_close(found[:, 8:][likely], expected[:, 8:][likely], rtol=0.02, atol=1e-6)


@needs_kernels
@pytest.mark.parametrize("size", [*SIZES, (1, 150, 37), (1, 90, 2)])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_step_kernel_is_its_three_parts(
    size: tuple[int, int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These are compared with their definitions above. With three threads the image is cut into bands."""
    first, second, flow = smooth_pair(*size)
    edges = torch.rand(flow.shape, generator=torch.Generator().manual_seed(4))
    still = torch.zeros_like(flow)
    system = variational_system(variational_data(first, second, flow, *TRUST), edges, flow, still, *WEIGHTS)
    expected = flow + relaxation(system, still, 10, 1.8).clamp(-0.3, 0.3)
    assert ((expected - flow).abs() == 0.3).any() or size[1] * size[2] < 100
    monkeypatch.setattr(native_call, "threads_for", lambda flops: threads)
    monkeypatch.delattr(variational_definition, "variational_step")  # the kernel must do it
    found = variational_step(first, second, edges, flow, StepNumbers(*TRUST, *WEIGHTS, 10, 1.8, 0.3))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert (found - expected).abs().mean() < 1e-5


@needs_kernels
@pytest.mark.parametrize("size", SIZES)
def test_the_reliability_kernel_is_the_definition(size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, flow = smooth_pair(*size)
    expected = variational_definition.flow_reliability(first, second, flow, 10.0, 0.1)
    monkeypatch.delattr(variational_definition, "flow_reliability")  # the kernel must do it
    torch.testing.assert_close(flow_reliability(first, second, flow, 10.0, 0.1), expected, rtol=1e-3, atol=1e-4)


def smooth_pair(batch: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Grey images whose derivatives are not noise, and a flow that also leads out of them."""
    y = torch.arange(height).float().view(1, 1, -1, 1)
    x = torch.arange(width).float()
    phase = torch.arange(batch).float().view(-1, 1, 1, 1)
    first = 120 + 60 * torch.sin(0.35 * x + phase) + 50 * torch.cos(0.27 * y + 0.11 * x)
    second = 120 + 60 * torch.sin(0.35 * (x - 0.6) + phase) + 50 * torch.cos(0.27 * (y + 0.4) + 0.11 * x)
    flow = torch.cat([torch.sin(0.05 * y + x * 0.02 + phase), 2 * torch.cos(0.04 * x + 0.01 * y + phase)], dim=1)
    return first, second, flow.expand(batch, 2, height, width).contiguous()


@needs_kernels
def test_the_linearisation_kernel_takes_flow_that_leads_nowhere() -> None:
    first, second = torch.rand(2, 1, 1, 20, 30).unbind()
    flow = torch.zeros(1, 2, 20, 30)
    flow[0, 0, 3, 4], flow[0, 1, 5, 6], flow[0, 0, 7, 8], flow[0, 1, 9, 10] = torch.nan, torch.inf, -torch.inf, 3e9
    data = variational_data(first, second, flow, *TRUST)
    assert data.isfinite().all()
    for y, x in ((3, 4), (5, 6), (7, 8), (9, 10)):
        assert (data[0, 8:, y, x] == 0).all()
        assert data[0, 5, y, x] == -first[0, 0, y, x]


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
    found = relaxation_definition.relaxation(system, step, 200, 1.2)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def moved(shift: tuple[float, float], size: tuple[int, int] = (60, 80)) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth texture and the same texture moved by `shift` (x, y)."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in size), indexing="ij")

    def picture(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        waves = torch.sin(0.31 * x + 0.2 * y) + torch.sin(0.17 * x - 0.41 * y) + torch.sin(0.53 * y + 0.05 * x)
        return (0.5 + waves / 8).expand(1, 3, *size)

    return picture(x, y), picture(x - shift[0], y - shift[1])


@pytest.mark.parametrize("refine", [variational_refinement, boundary_median])
def test_images_and_flow_that_do_not_belong_together_are_refused(refine: Callable[..., torch.Tensor]) -> None:
    images, flow = torch.rand(2, 3, 20, 30), torch.randn(2, 2, 20, 30)
    for wrong in (
        (images[:1], images, flow),
        (images, images[..., :-1], flow),
        (images, images, flow[:1]),
        (images, images, flow[:, :, 1:]),
        (images[:, :1], images[:, :1], flow),
        (images, images, flow.long()),
    ):
        with pytest.raises(InputError):
            refine(*wrong)


def test_it_finds_a_small_motion() -> None:
    first, second = moved((0.7, -0.4))
    flow = variational_refinement(first, second, torch.zeros(1, 2, 60, 80))
    error = (flow - torch.tensor([0.7, -0.4]).view(1, 2, 1, 1)).norm(dim=1)
    assert error[:, 4:-4, 4:-4].mean() < 0.05


def test_it_leaves_a_right_flow_alone() -> None:
    first, second = moved((3.0, 2.0))
    truth = torch.tensor([3.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 60, 80)
    flow = variational_refinement(first, second, truth)
    assert (flow - truth).norm(dim=1)[:, 6:-6, 6:-6].max() < 0.05


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (33, 31)])
def test_any_size_and_no_texture_stay_finite(size: tuple[int, int]) -> None:
    images = torch.zeros(2, 3, *size)
    flow = torch.randn(2, 2, *size) * 50
    assert variational_refinement(images, images, flow).isfinite().all()
    assert variational_refinement(images[:0], images[:0], flow[:0]).shape == (0, 2, *size)


def test_a_part_that_is_hidden_follows_its_surroundings() -> None:
    """A patch of the second picture is covered by another texture that the data terms would follow."""
    first, second = (image.clone() for image in moved((1.5, -1.0)))
    noise = torch.rand(1, 1, 18, 18, generator=torch.Generator().manual_seed(0))
    second[..., 20:38, 30:48] = noise
    truth = torch.tensor([1.5, -1.0]).view(1, 2, 1, 1).expand(1, 2, 60, 80)

    def error(settings: VariationalSettings) -> float:
        found = variational_refinement(first, second, truth, settings)
        return float((found - truth).norm(dim=1)[:, 20:38, 30:48].mean())

    found, without = error(VariationalSettings()), error(VariationalSettings(mismatch=1e9))
    assert found < 0.7 * without


def test_a_motion_boundary_goes_to_the_edge_of_the_picture() -> None:
    """A dark half stands still and a bright one moves down; the flow goes from one to the other over 16 pixels."""
    left = torch.arange(80) < 40
    still, sinking = moved((0.0, 0.0)), moved((0.0, 1.5))
    first, second = (torch.where(left, a * 0.2 + 0.1, b * 0.2 + 0.7) for a, b in zip(still, sinking, strict=True))
    down = torch.tensor([0.0, 1.5]).view(1, 2, 1, 1).expand(1, 2, 60, 80)
    truth = torch.where(left, 0.0, down)
    ramp = ((torch.arange(80) - 40) / 16 + 0.5).clamp(0, 1)

    def error(settings: VariationalSettings) -> float:
        found = variational_refinement(first, second, down * ramp, settings)
        return float((found - truth).norm(dim=1)[:, 6:-6].mean())

    assert error(VariationalSettings()) < 0.8 * error(VariationalSettings(edge=1e9))
