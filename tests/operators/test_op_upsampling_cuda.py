"""The CUDA kernels around a network's flow (upsampling, refinement, median) against their definitions.

On the host through the shim, and on a GPU where there is one; and broken in one place, which must be noticed.
"""

import ctypes
from collections.abc import Callable

import kernel_sanitizer
import pytest
import torch
from kernel_host import FORWARD, REVERSED, SHUFFLED, HostLauncher, build, library
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.boundary_median import cuda as median_cuda
from flowzoo.operators.boundary_median import definition as median_definition
from flowzoo.operators.convex_upsampling import cuda as convex_cuda
from flowzoo.operators.convex_upsampling import definition as convex_definition
from flowzoo.operators.launch import source_text
from flowzoo.operators.relaxation import cuda as relaxation_cuda
from flowzoo.operators.relaxation import definition as relaxation_definition
from flowzoo.operators.variational import cuda as variational_cuda
from flowzoo.operators.variational import definition as variational_definition

SIZES = [(2, 5, 7), (1, 1, 1), (1, 1, 9), (1, 8, 1), (1, 17, 34)]
NUMBERS = 0.1, 10.0, 0.1, 30.0, 1.0, 10.0, 0.01, 3, 1.9, 0.4


@pytest.fixture(params=["host", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cuda":
        if not (torch.cuda.is_available() and launch.available()):
            pytest.skip("no CUDA device, or no CuPy for it")
        return "cuda"
    monkeypatch.setattr(launch, "start", HostLauncher())
    return "cpu"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Smooth greys: derivatives of noise would be as uncertain as the noise is large."""
    y, x = torch.arange(height).float().view(-1, 1), torch.arange(width).float()
    phase = torch.arange(batch).float().view(-1, 1, 1, 1)
    first = 120 + 60 * torch.sin(0.35 * x + phase) + 50 * torch.cos(0.27 * y + 0.11 * x)
    second = 120 + 60 * torch.sin(0.35 * (x - 0.6) + phase) + 50 * torch.cos(0.27 * (y + 0.4) + 0.11 * x)
    return first.expand(batch, 1, height, width), second.expand(batch, 1, height, width)


Calls = tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor], tuple[float, ...]]


def relaxing(batch: int, height: int, width: int) -> Calls:
    """Kernel, definition, tensors, numbers."""
    system = drawn(batch, 7, height, width).abs()
    system[:, [0, 2]] += 1
    system[:, 5, :, -1] = 0
    system[:, 6, -1] = 0
    tensors = [system, drawn(batch, 2, height, width, seed=1)]
    return relaxation_cuda.relaxation, relaxation_definition.relaxation, tensors, (3, 1.6)


def stepping(batch: int, height: int, width: int) -> Calls:
    edges, flow = drawn(batch, 2, height, width).abs(), drawn(batch, 2, height, width, seed=1)
    tensors = [*images(batch, height, width), edges, flow]
    return variational_cuda.variational_step, variational_definition.variational_step, tensors, NUMBERS


def median(batch: int, height: int, width: int) -> Calls:
    colours, trust = 30 * drawn(batch, 3, height, width), drawn(batch, 1, height, width, seed=1).abs() + 0.1
    flow = 3 * drawn(batch, 2, height, width, seed=2)
    flow[..., : width // 3] = 1  # where nothing meets, nothing changes
    tensors = [colours, flow, trust]
    return median_cuda.boundary_median, median_definition.boundary_median, tensors, (3, 6.0, 10.0)


def upsampling(batch: int, height: int, width: int, factor: int = 3) -> Calls:
    tensors = [drawn(batch, 2, height, width), 3 * drawn(batch, 9 * factor**2, height, width, seed=1)]
    return convex_cuda.convex_upsampling, convex_definition.convex_upsampling, tensors, (factor,)


def upsampling_backward(batch: int, height: int, width: int, factor: int = 2) -> Calls:
    _, _, tensors, numbers = upsampling(batch, height, width, factor)
    tensors = [drawn(batch, 2, height * factor, width * factor, seed=3), *tensors]
    kernel, definition = convex_cuda.convex_upsampling_backward, convex_definition.convex_upsampling_backward
    return lambda *a: join(kernel(*a)), lambda *a: join(definition(*a)), tensors, numbers


def join(results: tuple[Tensor, Tensor]) -> Tensor:
    return torch.cat([result.flatten() for result in results])


CASES: dict[str, Callable[..., Calls]] = {
    "relaxation": relaxing,
    "variational_step": stepping,
    "boundary_median": median,
    "convex_upsampling": upsampling,
    "convex_upsampling_backward": upsampling_backward,
}


def difference(case: Calls, device: str = "cpu") -> float:
    """Of the kernel's result from the definition's in float64, in units of the largest value."""
    kernel, definition, tensors, numbers = case
    found = kernel(*(tensor.to(device) for tensor in tensors), *numbers).cpu().double()
    wanted = definition(*(tensor.double() for tensor in tensors), *numbers)
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_kernel_is_the_definition(name: str, size: tuple[int, int, int], device: str) -> None:
    assert difference(CASES[name](*size), device) < (2e-3 if name == "variational_step" else 5e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_logits(dtype: torch.dtype, device: str) -> None:
    """They are read as they are; only their own gradient is rounded."""
    flow, logits = drawn(1, 2, 4, 5).to(device), drawn(1, 36, 4, 5, seed=1).to(device, dtype)
    found = convex_cuda.convex_upsampling(flow, logits, 2)
    wanted = convex_definition.convex_upsampling(flow.double(), logits.double(), 2)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)
    gradient = drawn(1, 2, 8, 10, seed=2).to(device)
    to_flow, to_logits = convex_cuda.convex_upsampling_backward(gradient, flow, logits, 2)
    exact = convex_definition.convex_upsampling_backward(gradient.double(), flow.double(), logits.double(), 2)
    assert to_logits.dtype == dtype
    torch.testing.assert_close(to_flow.double(), exact[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(to_logits.double(), exact[1], rtol=8e-3, atol=1e-3)


def test_others_are_left_to_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "start", lambda launch: pytest.fail("launched"))
    for make in CASES.values():
        kernel, _, tensors, numbers = make(1, 3, 4)
        kernel(*(tensor.double() for tensor in tensors), *numbers)
        kernel(*(tensor[:0] for tensor in tensors), *numbers)


def test_wrens_refinement_takes_few_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    start = HostLauncher()
    monkeypatch.setattr(launch, "start", start)
    kernel, _, tensors, _ = stepping(1, 4, 5)
    kernel(*tensors, *NUMBERS[:-3], 10, 1.9, 1.0)
    assert len(start.launched) == 2 + 20 + 1


@pytest.mark.parametrize("order", [REVERSED, SHUFFLED])
@pytest.mark.parametrize("name", CASES)
def test_the_order_of_threads_changes_nothing(name: str, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, _, tensors, numbers = CASES[name](1, 5, 20)
    results = []
    for chosen in (FORWARD, order):
        monkeypatch.setattr(launch, "start", HostLauncher(chosen))
        results.append(kernel(*tensors, *numbers))
    assert torch.equal(*results)


# case, source, a piece of it, what it becomes
MUTATIONS = {
    "wrong colour": ("relaxation", "relaxation.cu", "(y + colour) % 2", "colour"),
    "old du": ("relaxation", "relaxation.cu", "(v - a12 * next)", "(v - a12 * now_u)"),
    "corner wrong": ("variational_step", "variational.cu", "x0 + k % 2", "x0 + k / 2"),
    "window too small": ("variational_step", "variational.cu", "x + k % 5 - 2", "x + k % 5 / 2 - 1"),
    "step unbounded": ("variational_step", "variational.cu", "fminf(fmaxf(by, -largest), largest)", "by"),
    "half the median": ("boundary_median", "boundary_median.cu", "total / 2", "total / 4"),
    "taps turned": ("convex_upsampling", "convex_upsampling.cu", "x + k % 3 - 1", "x - k % 3 + 1"),
    "mean lost": ("convex_upsampling_backward", "convex_upsampling.cu", "(along[k] - mean)", "along[k]"),
    "owed by nobody": ("convex_upsampling_backward", "convex_upsampling.cu", "n < 9", "n < 8"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_kernel_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, source, original, replacement = MUTATIONS[name]
    text = source_text(source)
    assert text.count(original) == 1, f"{original!r} must occur once in {source}"
    mutated = text.replace(original, replacement)

    def libraries(wanted: str, defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
        if wanted != source:
            return library(wanted, defines)
        return ctypes.CDLL(str(build(mutated, defines, name="mutation-" + name.replace(" ", "-"))))

    monkeypatch.setattr(launch, "start", HostLauncher(libraries=libraries))
    assert difference(CASES[case](1, 6, 9)) > 2e-3


def test_unbroken_kernels_stay_inside_their_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = kernel_sanitizer.Recorder()
    monkeypatch.setattr(launch, "start", recorder)
    for make in CASES.values():
        kernel, _, tensors, numbers = make(2, 3, 5)
        kernel(*tensors, *numbers)
    wild = torch.tensor([float("nan"), 1e30, -1e30, float("inf"), 0.0, -5.0]).repeat(2).view(1, 2, 2, 3)
    for make in (stepping, median):
        kernel, _, tensors, numbers = make(1, 2, 3)
        kernel(*(wild if tensor.shape[1] == 2 else tensor for tensor in tensors), *numbers)
    for (source, defines), jobs in recorder.jobs.items():
        done = kernel_sanitizer.run(jobs, source, defines)
        assert done.returncode == 0, done.stderr[:2000]
