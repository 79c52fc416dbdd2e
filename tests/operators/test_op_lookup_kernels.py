"""The kernels of RAFT's look-up: C++, and the CUDA source run on the host (and on a GPU where there is one)."""

import ctypes

import kernel_sanitizer
import pytest
import torch
from kernel_compile import ARCHITECTURES, compile_source, nvrtc_of_budgets
from kernel_host import FORWARD, REVERSED, SHUFFLED, HostLauncher, build
from torch import Tensor

from flowzoo.operators import launch, native, native_call
from flowzoo.operators.launch import MOST_SHARED, source_text
from flowzoo.operators.lookup import cpu, cuda, definition

# batch, channels, rows, columns, height, width, radius, levels
SHAPES = [
    (2, 5, 3, 4, 9, 7, 2, 4),
    (1, 35, 6, 11, 12, 17, 4, 4),
    (1, 128, 3, 9, 20, 70, 3, 2),
    (1, 16, 2, 2, 1, 1, 0, 3),
    (3, 20, 3, 3, 30, 40, 16, 2),
    (1, 64, 1, 5, 6, 5, 7, 1),
]


def wild(shape: tuple[int, ...]) -> list[Tensor]:
    """First map, packed second map, coordinates on, beside and far off the map or no numbers, and a gradient."""
    batch, channels, rows, columns, height, width, radius, levels = shape
    first = torch.randn(batch, channels, rows, columns)
    table = definition.packed(torch.randn(batch, channels, height, width), levels)
    reach = torch.tensor([width + 2.0 * radius + 4, height + 2.0 * radius + 4]).view(1, 2, 1, 1)
    coordinates = torch.rand(batch, 2, rows, columns) * reach - radius - 2
    flat = coordinates.view(-1)
    for step, value in ((7, float("nan")), (11, float("inf")), (13, -1e30), (5, 2.0)):
        flat[step - 1 :: step] = value
    return [first, table, coordinates, torch.randn(batch, levels * (2 * radius + 1) ** 2, rows, columns)]


def smooth(shape: tuple[int, ...]) -> list[Tensor]:
    """The same where neighbours look at neighbours."""
    first, table, coordinates, gradient = wild(shape)
    y, x = torch.meshgrid(*(torch.arange(float(side)) for side in shape[2:4]), indexing="ij")
    near = torch.stack([x, y]).expand_as(coordinates) * 1.3 + 0.4
    return [first, table, near.contiguous(), gradient]


def agree(found: Tensor, wanted: Tensor, tolerance: float = 5e-6) -> None:
    assert found.shape == wanted.shape
    scale = float(wanted.abs().max()) or 1.0
    assert float((found.cpu().double() - wanted).abs().max()) <= tolerance * scale


def compare(module, tensors: list[Tensor], numbers: tuple[int, ...], device: str = "cpu", tolerance: float = 5e-6):
    """Values and gradients of a version against the definition in float64."""
    first, table, coordinates, gradient = (tensor.to(device) for tensor in tensors)
    exact = [tensor.double() for tensor in tensors]
    agree(module.lookup(first, table, coordinates, *numbers), definition.lookup(*exact[:3], *numbers), tolerance)
    wanted = definition.lookup_backward(exact[3], *exact[:3], *numbers, True)
    for with_coordinates in (True, False):
        found = module.lookup_backward(gradient, first, table, coordinates, *numbers, with_coordinates)
        for one, other in zip(found[: 2 + with_coordinates], wanted, strict=False):
            agree(one, other, tolerance)


# ------------------------------------------------------------------------------------------------- C++


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip without a compiler; a fall back to the definition is a failure."""
    if native.library() is None:
        pytest.skip("no C++ compiler to build the CPU kernels with")


@pytest.mark.parametrize("inputs", [wild, smooth])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_native(shape, threads, inputs, kernels, monkeypatch):
    monkeypatch.setattr(native_call, "threads_for", lambda flops: threads)
    tensors = inputs(shape)
    wanted = definition.lookup

    def unavailable(*_: object) -> Tensor:
        raise AssertionError("the kernel was not used")

    with monkeypatch.context() as patch:
        patch.setattr(definition, "lookup", unavailable)
        cpu.lookup(*tensors[:3], *shape[4:])
    assert definition.lookup is wanted
    compare(cpu, tensors, shape[4:])


def test_native_takes_any_memory_order_and_half_types(kernels):
    shape = SHAPES[1]
    first, table, coordinates, _ = smooth(shape)
    wanted = cpu.lookup(first, table, coordinates, *shape[4:])
    turned = first.contiguous(memory_format=torch.channels_last), table.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(cpu.lookup(*turned, coordinates, *shape[4:]), wanted)
    half = cpu.lookup(first.bfloat16(), table.bfloat16(), coordinates, *shape[4:])
    assert half.dtype == torch.bfloat16
    agree(half.float(), wanted.double(), 2e-2)


def test_threads_do_not_change_a_bit(kernels, monkeypatch):
    shape = SHAPES[2]
    first, table, coordinates, gradient = wild(shape)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        costs = cpu.lookup(first, table, coordinates, *shape[4:])
        found.append([costs, *cpu.lookup_backward(gradient, first, table, coordinates, *shape[4:], False)[:2]])
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_a_table_of_another_size_is_refused(kernels):
    from flowzoo.errors import InputError

    first, table, coordinates, _ = wild(SHAPES[0])
    with pytest.raises(InputError, match="table must have the shape"):
        cpu.lookup(first, table[:, 1:], coordinates, *SHAPES[0][4:])


def test_large_radius_and_lack_of_memory_leave_it_to_the_definition(monkeypatch):
    shape = (1, 3, 2, 2, 4, 5, 17, 2)
    tensors = wild(shape)
    compare(cpu, tensors, shape[4:])

    class Failing:
        def __getattr__(self, name: str) -> object:
            return lambda *arguments: 1

    monkeypatch.setattr(native, "library", Failing)
    compare(cpu, wild(SHAPES[0]), SHAPES[0][4:])


# ------------------------------------------------------------------------------------------------ CUDA


@pytest.fixture(params=["host", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request, monkeypatch) -> str:
    if request.param == "cuda":
        if not (torch.cuda.is_available() and launch.available()):
            pytest.skip("no CUDA device, or no CuPy for it")
        return "cuda"
    monkeypatch.setattr(launch, "start", HostLauncher())
    return "cpu"


@pytest.fixture
def deterministic(request):
    torch.use_deterministic_algorithms(request.param)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("deterministic", [False, True], indirect=True, ids=["atomics", "fixed-point"])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[6] in (0, 2, 4)])
def test_cuda(shape, deterministic, device):
    compare(cuda, wild(shape), shape[4:], device)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cuda_half_storage(dtype, device):
    shape = SHAPES[0]
    first, table, coordinates, gradient = wild(shape)
    halves = [first.to(dtype), table.to(dtype), coordinates, gradient.to(dtype)]
    tolerance = 2e-3 if dtype == torch.float16 else 1.6e-2
    compare(cuda, halves, shape[4:], device, tolerance)
    assert cuda.lookup(*(half.to(device) for half in halves[:3]), *shape[4:]).dtype == dtype


def test_nothing_to_do(device):
    empty = torch.zeros(0, 3, 2, 2, device=device), torch.zeros(0, 6, 3, device=device)
    coordinates = torch.zeros(0, 2, 2, 2, device=device)
    assert cuda.lookup(*empty, coordinates, 2, 3, 1, 1).shape == (0, 9, 2, 2)


@pytest.mark.parametrize("order", [REVERSED, SHUFFLED])
@pytest.mark.parametrize("deterministic", [True], indirect=True)
def test_order_of_threads(order, deterministic, monkeypatch):
    shape = SHAPES[0]
    first, table, coordinates, gradient = wild(shape)
    results = []
    for chosen in (FORWARD, order):
        monkeypatch.setattr(launch, "start", HostLauncher(chosen))
        costs = cuda.lookup(first, table, coordinates, *shape[4:])
        results.append([costs, *cuda.lookup_backward(gradient, first, table, coordinates, *shape[4:], True)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiles_without_spills(architecture):
    nvrtc_of_budgets()
    variants = [(9, 0, 0), (9, 0, 1), (7, 2, 0)] if architecture == 90 else [(9, 0, 0)]
    for side, storage, fixed in variants:
        defines = {"SIDE": side, "STORAGE": storage, "FIXED": fixed}
        usages = compile_source(source_text("lookup.cu"), defines, architecture)
        assert set(usages) == {"lookup", "lookup_backward"}
        for usage in usages.values():
            assert not usage.spilled_bytes
            assert usage.registers <= 128
            assert usage.shared_bytes <= MOST_SHARED


@pytest.mark.parametrize("radius", range(40))
def test_shared_memory_suffices_or_the_definition_runs(radius):
    for kernel in ("lookup", "lookup_backward"):
        warps = cuda.warps_per_block(kernel, radius)
        assert warps * cuda._bytes_per_warp(kernel, radius) <= MOST_SHARED
        assert warps > 0 or radius > 16


TINY = (1, 3, 2, 3, 4, 5, 1, 3)

MUTATIONS = {
    "dots not ready": ("dots[n] = total;\n    }\n    __syncwarp();", "dots[n] = total;\n    }"),
    "weights not ready": ("weights[n] = total;\n    }\n    __syncwarp();", "weights[n] = total;\n    }"),
    "gradient not ready": ("widen(source[d]) * share;\n        __syncwarp();", "widen(source[d]) * share;"),
    "axes swapped": ("x = left + n / WIDE, y = top + n % WIDE", "x = left + n % WIDE, y = top + n / WIDE"),
    "level forgotten": ("w.shrink *= 0.5f;", ""),
    "level's place": ("w.begin += static_cast<Long>(w.height) * w.width;", ""),
    "share wrong": ("(beside ? w.right : 1.0f - w.right)", "(beside ? 1.0f - w.right : w.right)"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_kernel_is_noticed(name, monkeypatch):
    original, replacement = MUTATIONS[name]
    text = source_text("lookup.cu")
    assert text.count(original) == 1, f"{original!r} must occur once"
    mutated = text.replace(original, replacement)

    def libraries(_: str, defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
        return ctypes.CDLL(str(build(mutated, defines, name="lookup-" + name.replace(" ", "-").replace("'", ""))))

    def fails(order: int) -> bool:
        monkeypatch.setattr(launch, "start", HostLauncher(order, libraries))
        try:
            compare(cuda, wild(TINY), TINY[4:])
        except AssertionError:
            return True
        return False

    assert any(fails(order) for order in (FORWARD, REVERSED, SHUFFLED))


BOUNDS = {
    "map edge": ("y < 0 || y >= height || x < 0 || x >= width", "y < 0 || x < 0 || x >= width"),
    "last warp": ("if (item >= batch * rows * columns * levels) return;", ""),
    "last pixel": ("if (pixel >= batch * plane) return;", ""),
    "no place for the coordinates": (
        "    if (to_coordinates) {\n        const float x",
        "    {\n        const float x",
    ),
}


def recorded(monkeypatch: pytest.MonkeyPatch) -> kernel_sanitizer.Recorder:
    recorder = kernel_sanitizer.Recorder()
    monkeypatch.setattr(launch, "start", recorder)
    shape = TINY
    for tensors in (wild(shape), smooth(shape)):
        first, table, coordinates, gradient = tensors
        cuda.lookup(first, table, coordinates, *shape[4:])
        for with_coordinates in (True, False):
            cuda.lookup_backward(gradient, first, table, coordinates, *shape[4:], with_coordinates)
    return recorder


def test_unbroken_kernels_stay_inside_their_buffers(monkeypatch):
    for exact in (False, True):
        torch.use_deterministic_algorithms(exact)
        try:
            jobs = recorded(monkeypatch).jobs
        finally:
            torch.use_deterministic_algorithms(False)
        for (source, defines), recording in jobs.items():
            done = kernel_sanitizer.run(recording, source, defines)
            assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.parametrize("name", BOUNDS)
def test_a_missing_bounds_check_is_noticed(name, monkeypatch):
    (source, defines), jobs = next(iter(recorded(monkeypatch).jobs.items()))
    done = kernel_sanitizer.run(jobs, source, defines, name="lookup-" + name.replace(" ", "-"), replaced=BOUNDS[name])
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr or "runtime error" in done.stderr, done.stderr
