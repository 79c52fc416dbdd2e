"""The public operators against the loops of their definitions, at awkward sizes, on every backend that runs here."""

from collections.abc import Callable

import brute_force
import pytest
import torch
from torch import Tensor

from flowzoo import operators
from flowzoo.errors import InputError

SIZES = [(1, 1, 1, 1), (2, 3, 5, 4), (1, 4, 1, 7), (1, 2, 6, 1), (1, 5, 3, 19)]
WINDOWS = [(0, 1, 1), (1, 1, 1), (2, 1, 2), (1, 2, 2), (1, 3, 2), (2, 2, 3), (4, 1, 1)]  # radius, dilation, stride


@pytest.fixture(params=["native", "portable"])
def _backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWZOO_NATIVE", "1" if request.param == "native" else "0")


def close(found: Tensor, wanted: object) -> None:
    """Within float32 rounding of sums this short."""
    wanted = torch.as_tensor(wanted)
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape
    assert torch.allclose(found.double(), wanted, rtol=1e-5, atol=2e-6), (found.double() - wanted).abs().max()


def exact(*tensors: Tensor) -> list[object]:
    return [tensor.double().numpy() for tensor in tensors]


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", SIZES)
def test_correlation(size: tuple[int, ...], window: tuple[int, int, int]) -> None:
    first, second = torch.randn(*size), torch.randn(*size)
    wanted = brute_force.correlation(*exact(first, second), *window)
    close(operators.correlation(first, second, *window), wanted)


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("window", [(0, 1), (1, 1), (2, 2), (4, 1)])
@pytest.mark.parametrize("size", SIZES)
def test_correlation_transpose(size: tuple[int, ...], window: tuple[int, int]) -> None:
    residual, second = torch.randn(size[0], (2 * window[0] + 1) ** 2, *size[2:]), torch.randn(*size)
    wanted = brute_force.correlation_transpose(*exact(residual, second), *window)
    close(operators.correlation_transpose(residual, second, *window), wanted)


def some_flow(batch: int, height: int, width: int) -> Tensor:
    """Small, whole-numbered, far outside, infinite and NaN flow."""
    flow = 2 * torch.randn(batch, 2, height, width)
    flat = flow.view(-1)
    for step, value in ((5, 0.0), (7, -1.0), (9, 40.0), (11, float("inf")), (13, float("nan")), (17, -3e38)):
        flat[step - 1 :: step] = value
    return flow


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("measure", ["correlation", "sad"])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", SIZES[:4])
def test_sampled_cost_volume(size: tuple[int, ...], window: tuple[int, int, int], measure: str) -> None:
    first, second, flow = torch.randn(*size), torch.randn(*size), some_flow(size[0], *size[2:])
    wanted = brute_force.sampled(*exact(first, second, flow), *window, measure)
    close(operators.sampled_cost_volume(first, second, flow, *window, measure), wanted)


@pytest.mark.usefixtures("_backend")
def test_sampled_cost_volume_of_a_large_radius() -> None:
    """Wider than the native kernel's vectors."""
    first, second, flow = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4), some_flow(1, 3, 4)
    for measure in ("correlation", "sad"):
        wanted = brute_force.sampled(*exact(first, second, flow), 8, 1, 1, measure)
        close(operators.sampled_cost_volume(first, second, flow, 8, measure=measure), wanted)


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("dilation", [50, 10**6, 2**31 - 1])
def test_steps_that_leave_the_map_at_once(dilation: int) -> None:
    """No displacement but the middle one is inside, and no memory or number overflows."""
    first, second, flow = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), some_flow(2, 4, 5)
    wanted = brute_force.correlation(*exact(first, second), 2, dilation, 2)
    close(operators.correlation(first, second, 2, dilation, 2), wanted)
    residual = torch.randn(2, 25, 4, 5)
    wanted = brute_force.correlation_transpose(*exact(residual, second), 2, dilation)
    close(operators.correlation_transpose(residual, second, 2, dilation), wanted)
    flow[:, 0, 1] -= dilation  # comes back into the map by the displacement to the right
    for measure in ("correlation", "sad"):
        wanted = brute_force.sampled(*exact(first, second, flow), 1, dilation, 1, measure)
        close(operators.sampled_cost_volume(first, second, flow, 1, dilation, measure=measure), wanted)


@pytest.mark.parametrize("size", SIZES)
def test_warp(size: tuple[int, ...]) -> None:
    features, flow = torch.randn(*size), some_flow(size[0], *size[2:])
    close(operators.warp(features, flow), brute_force.warp(*exact(features, flow)))


@pytest.mark.parametrize("size", SIZES[:4])
def test_splat(size: tuple[int, ...]) -> None:
    values, flow = torch.randn(*size), some_flow(size[0], *size[2:])
    close(operators.splat(values, flow), brute_force.splat(*exact(values, flow)))


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize("size", SIZES[:4])
def test_local_convolution(size: tuple[int, ...], window: int) -> None:
    values, weights = torch.randn(*size), torch.randn(size[0], window**2, *size[2:])
    wanted = brute_force.local_convolution(*exact(values, weights), window)
    close(operators.local_convolution(values, weights, window), wanted)


def test_global_correlation() -> None:
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 2, 7)
    close(operators.global_correlation(first, second), brute_force.global_correlation(*exact(first, second)))


def test_splat_is_the_adjoint_of_warp() -> None:
    values, other, flow = torch.randn(1, 2, 6, 7), torch.randn(1, 2, 6, 7), some_flow(1, 6, 7)
    one = (operators.splat(values, flow) * other).sum()
    two = (values * operators.warp(other, flow)).sum()
    assert torch.allclose(one, two, rtol=1e-4, atol=1e-5)


def test_warp_coordinates_stay_exact_on_wide_maps() -> None:
    """A ramp warped by a known flow gives the place it was sampled at, to well below a hundredth of a pixel."""
    width = 2048
    ramp = torch.arange(width, dtype=torch.float32).expand(1, 1, 2, width)
    flow = torch.zeros(1, 2, 2, width)
    flow[:, 0] = 0.37
    inner = operators.warp(ramp, flow)[..., :-1] - ramp[..., :-1] - 0.37
    assert float(inner.abs().max()) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    first, second, flow = (torch.randn(1, 6, 5, 8).to(dtype) for _ in range(3))
    flow = flow[:, :2]
    pairs = [
        (operators.correlation, (first, second, 2)),
        (operators.sampled_cost_volume, (first, second, flow, 2)),
        (operators.warp, (first, flow)),
        (operators.splat, (first, flow)),
        (operators.local_convolution, (first, torch.randn(1, 9, 5, 8).to(dtype), 3)),
    ]
    for operator, arguments in pairs:
        found = operator(*arguments)
        wide = [a.double() if isinstance(a, Tensor) else a for a in arguments]
        assert found.dtype == dtype
        assert torch.allclose(found.double(), operator(*wide), rtol=2 * torch.finfo(dtype).eps, atol=1e-3)


def test_empty_batches() -> None:
    maps, flow = torch.zeros(0, 3, 4, 5), torch.zeros(0, 2, 4, 5)
    assert operators.correlation(maps, maps, 1, 1, 2).shape == (0, 9, 2, 3)
    assert operators.sampled_cost_volume(maps, maps, flow, 1, measure="sad").shape == (0, 9, 4, 5)
    assert operators.warp(maps, flow).shape == operators.splat(maps, flow).shape == maps.shape
    assert operators.local_convolution(maps, torch.zeros(0, 9, 4, 5), 3).shape == maps.shape
    assert operators.global_correlation(maps, maps).shape == (0, 20, 4, 5)


def test_any_memory_order() -> None:
    wide = torch.randn(2, 6, 5, 16)
    view, turned = wide[:, ::2, :, 1::2], torch.randn(2, 3, 5, 8).to(memory_format=torch.channels_last)
    flow = torch.randn(2, 2, 8, 5).transpose(2, 3)
    calls: list[Callable[[Tensor, Tensor, Tensor], Tensor]] = [
        lambda a, b, f: operators.correlation(a, b, 1),
        lambda a, b, f: operators.sampled_cost_volume(a, b, f, 1),
        lambda a, b, f: operators.warp(a, f),
        lambda a, b, f: operators.splat(b, f),
    ]
    for call in calls:
        assert torch.equal(call(view, turned, flow), call(view.contiguous(), turned.contiguous(), flow.contiguous()))


MAPS, FLOW, DATA = torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), torch.zeros(1, 11, 3, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: operators.correlation(MAPS[0], MAPS, 1), "first must be"),
        (lambda: operators.correlation(MAPS.long(), MAPS.long(), 1), "floating point"),
        (lambda: operators.correlation(MAPS, torch.zeros(1, 2, 3, 5), 1), "one shape"),
        (lambda: operators.correlation(MAPS, MAPS, -1), "radius"),
        (lambda: operators.correlation(MAPS, MAPS, 1, 0), "dilation"),
        (lambda: operators.correlation(MAPS, MAPS, 1, 2**62), "dilation"),
        (lambda: operators.correlation(MAPS, MAPS, 2**40), "radius"),
        (lambda: operators.correlation(MAPS, MAPS, 1.5), "whole number"),
        (lambda: operators.correlation(MAPS.numpy(), MAPS, 1), "torch tensor"),
        (lambda: operators.correlation(MAPS, MAPS.to("meta"), 1), "move one"),
        (lambda: operators.correlation_transpose(MAPS, MAPS, 1), "residual must be"),
        (lambda: operators.sampled_cost_volume(MAPS, MAPS, FLOW[:, :1], 1), "flow must be"),
        (lambda: operators.sampled_cost_volume(MAPS, MAPS, FLOW, 1, measure="ssd"), "'correlation' or 'sad'"),
        (lambda: operators.warp(MAPS, torch.zeros(1, 2, 4, 3)), "flow must be"),
        (lambda: operators.splat(torch.zeros(1, 0, 3, 4), FLOW), "at least one channel"),
        (lambda: operators.local_convolution(MAPS, MAPS, 2), "odd"),
        (lambda: operators.local_convolution(MAPS, MAPS, 3), "weights must be"),
        (lambda: operators.global_correlation(MAPS, torch.zeros(1, 3, 3, 4)), "share batch and channels"),
        (lambda: operators.convex_upsampling(MAPS[:, :1], torch.zeros(1, 36, 3, 4), 2), "2 channels"),
        (lambda: operators.convex_upsampling(FLOW, torch.zeros(1, 36, 4, 4), 2), "logits must be"),
        (lambda: operators.convex_upsampling(FLOW, torch.zeros(1, 9, 3, 4), 0), "factor"),
        (lambda: operators.convex_upsampling(FLOW, torch.zeros(1, 36, 3, 4, dtype=torch.int32), 2), "floating point"),
        (lambda: operators.relaxation(torch.zeros(1, 6, 3, 4), FLOW, 1, 1.5), "system must be"),
        (lambda: operators.relaxation(torch.zeros(1, 7, 3, 4), FLOW, -1, 1.5), "sweeps"),
        (lambda: operators.relaxation(torch.zeros(1, 7, 3, 4), FLOW, 1, float("nan")), "factor"),
        (lambda: operators.variational_data(MAPS, MAPS, FLOW, 0.1, 10.0, 0.1), "1 channels"),
        (lambda: operators.variational_data(MAPS[:, :1], MAPS[:, :1, 1:], FLOW, 0.1, 10.0, 0.1), "second must be"),
        (
            lambda: operators.variational_system(torch.zeros(1, 11, 3, 4), MAPS[..., 1:], FLOW, FLOW, 1, 1, 1, 1),
            "edges",
        ),
        (lambda: operators.smoothed_greys(MAPS, [1.0]), "3 channels"),
        (lambda: operators.smoothed_greys(torch.zeros(1, 3, 3, 4), [0.5, 0.5]), "odd number"),
        (lambda: operators.smoothed_greys(torch.zeros(1, 3, 3, 4), [float("inf")]), "finite"),
        (lambda: operators.contrasts(FLOW), "3 channels"),
        (lambda: operators.decoder_input(DATA, MAPS, MAPS[..., 1:], 0.1, 2), "others must be"),
        (lambda: operators.decoder_input(DATA, MAPS, MAPS, 0.1, float("nan")), "gain"),
        (lambda: operators.area_means(MAPS, 0, 4), "height"),
        (lambda: operators.boundary_median(torch.zeros(1, 3, 3, 4), FLOW, MAPS, 3, 2.0, 10.0), "trust must be"),
        (lambda: operators.boundary_median(torch.zeros(2, 3, 3, 4), FLOW, MAPS[:, :1], 3, 2.0, 10.0), "flow must be"),
    ],
)
def test_mistakes_are_one_clear_line(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
