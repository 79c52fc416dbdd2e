"""The CUDA source of the deformable convolution, run on the host (and on a GPU where there is one), and broken."""

import ctypes

import kernel_sanitizer
import pytest
import torch
from kernel_compile import ARCHITECTURES, compile_source, nvrtc
from kernel_host import FORWARD, REVERSED, SHUFFLED, HostLauncher, build
from test_op_deform_kernel import problem
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.deform import cuda, definition
from flowzoo.operators.launch import source_text

# batch, channels, groups, outputs, taps (y, x), stride, padding, step, height, width
SHAPES = [
    (2, 6, 2, 5, (3, 3), (1, 1), (1, 1), (1, 1), 7, 9),
    (1, 5, 1, 3, (2, 2), (1, 2), (0, 1), (2, 1), 6, 21),
    (2, 4, 4, 1, (1, 5), (1, 1), (0, 0), (0, 0), 1, 9),
]
TINY = (1, 4, 2, 3, (2, 1), (1, 1), (1, 0), (1, 1), 4, 5)


@pytest.fixture(params=["host", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the kernels run; on the host, launches go to the shim."""
    if request.param == "cuda":
        if not (torch.cuda.is_available() and launch.available()):
            pytest.skip("no CUDA device, or no CuPy for it")
        return "cuda"
    monkeypatch.setattr(launch, "start", HostLauncher())
    return "cpu"


def compare(shape: tuple, legacy: bool, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
    """Result and gradients against the definition in float64, with and without masks."""
    gradient, tensors, numbers = problem(shape)
    tensors[0] = tensors[0].to(dtype)
    exact = [tensor.double() for tensor in tensors]
    given = [tensor.to(device) for tensor in tensors]
    tolerance = 4e-6 if dtype == torch.float32 else 1.6e-2
    for mask, exact_mask in ((given[4], exact[4]), (None, None)):
        found = cuda.deform(*given[:4], mask, *numbers, legacy)
        agree(found, definition.deform(*exact[:4], exact_mask, *numbers, legacy), tolerance)
        found = cuda.deform_backward(gradient.to(device), *given[:3], mask, *numbers, legacy)
        wanted = definition.deform_backward(gradient.double(), *exact[:3], exact_mask, *numbers, legacy)
        for one, other in zip(found, wanted, strict=True):
            agree(one, other, tolerance)


def compare_both(shape: tuple) -> None:
    for legacy in (False, True):
        compare(shape, legacy)


def agree(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    assert found.shape == wanted.shape
    if wanted.numel():
        error = float((found.cpu().double() - wanted).abs().max())
        assert error <= tolerance * float(wanted.abs().max()), error


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_backward_are_the_definition(shape: tuple, legacy: bool, device: str) -> None:
    compare(shape, legacy, device)


def test_some_pixels_at_a_time(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "MOST_NUMBERS", 7 * 6 * 9)
    compare(SHAPES[0], False, device)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_storage(dtype: torch.dtype, device: str) -> None:
    compare(TINY, False, device, dtype)


def test_nothing_to_do(device: str) -> None:
    empty, offset = torch.zeros(0, 4, 5, 6, device=device), torch.zeros(0, 2, 5, 6, device=device)
    weight, numbers = torch.ones(3, 4, 1, device=device), (1, (1, 1), (0, 0), (1, 1), False)
    assert cuda.deform(empty, offset, weight, None, None, *numbers).shape == (0, 3, 5, 6)


@pytest.mark.parametrize("order", [REVERSED, SHUFFLED])
def test_every_run_gives_the_same_bits(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gradient, tensors, numbers = problem(SHAPES[0])
    results = []
    for chosen in (FORWARD, order):
        monkeypatch.setattr(launch, "start", HostLauncher(chosen))
        forward = cuda.deform(*tensors, *numbers, False)
        results.append((forward, *cuda.deform_backward(gradient, *tensors[:3], tensors[4], *numbers, False)))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiles_without_spills(architecture: int) -> None:
    nvrtc()
    for storage in (0, 1, 2) if architecture == 90 else (0,):
        usages = compile_source(source_text("deform.cu"), {"STORAGE": storage}, architecture)
        assert set(usages) == {"deform_values", "deform_places"}
        for usage in usages.values():
            assert not usage.spilled_bytes
            assert usage.registers <= 128


MUTATIONS = {
    "axes swapped": ("k / 2, u = left + k % 2", "k % 2, u = left + k / 2"),
    "share wrong": ("(k % 2 ? right : 1.0f - right)", "(k % 2 ? 1.0f - right : right)"),
    "mask forgotten": ("= total * place.shown;", "= total;"),
    "mask forgotten in the gradient": ("(place.share(k) * place.shown)", "place.share(k)"),
    "offsets swapped": ("target[0] = place.shown * (bottom - top);", "target[pixels] = place.shown * (bottom - top);"),
    "group's channels": (
        "for (int c = task.group * each; c < (task.group + 1) * each; ++c) {\n        float total",
        "for (int c = 0; c < each; ++c) {\n        float total",
    ),
    "an edge has a derivative": ("left < g.width && !edge;", "left < g.width;"),
    "last row not repeated": ("v = v < g.height ? v : g.height - 1;", ""),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_kernel_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original, replacement = MUTATIONS[name]
    text = source_text("deform.cu")
    assert text.count(original) == 1, f"{original!r} must occur once"
    mutated = text.replace(original, replacement)

    def libraries(_: str, defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
        return ctypes.CDLL(str(build(mutated, defines, name="deform-" + name.replace(" ", "-").replace("'", ""))))

    monkeypatch.setattr(launch, "start", HostLauncher(FORWARD, libraries))
    with pytest.raises(AssertionError):
        compare_both(SHAPES[0])


LAST_THREAD = """    if (index >= count * taps * groups) return;
    const Task task(index, first, count, taps);
    const Place place(g, task, offset, mask);
    const int each = channels / groups;
    const Long plane = static_cast<Long>(height) * width;
"""
BOUNDS = {
    "map edge": ("v >= 0 && v < g.height && u >= 0", "v >= 0 && u >= 0"),
    "last thread": (LAST_THREAD, LAST_THREAD.removeprefix("    if (index >= count * taps * groups) return;\n")),
}


def recorded(monkeypatch: pytest.MonkeyPatch) -> kernel_sanitizer.Recorder:
    recorder = kernel_sanitizer.Recorder()
    monkeypatch.setattr(launch, "start", recorder)
    gradient, tensors, numbers = problem(TINY)
    for legacy in (False, True):
        for mask in (tensors[4], None):
            cuda.deform(*tensors[:4], mask, *numbers, legacy)
            cuda.deform_backward(gradient, *tensors[:3], mask, *numbers, legacy)
    return recorder


def test_unbroken_kernels_stay_inside_their_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    for (source, defines), jobs in recorded(monkeypatch).jobs.items():
        done = kernel_sanitizer.run(jobs, source, defines)
        assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.parametrize("name", BOUNDS)
def test_a_missing_bounds_check_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (source, defines), jobs = next(iter(recorded(monkeypatch).jobs.items()))
    done = kernel_sanitizer.run(jobs, source, defines, name="deform-" + name.replace(" ", "-"), replaced=BOUNDS[name])
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr or "runtime error" in done.stderr, done.stderr
