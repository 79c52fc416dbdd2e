"""The CUDA kernels against the portable operators: on the host through the shim, and on a GPU where there is one."""

import pytest
import torch
from kernel_host import FORWARD, REVERSED, SHUFFLED, HostLauncher
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.correlation import cuda as correlation_cuda
from flowzoo.operators.correlation import definition as correlation_definition
from flowzoo.operators.sampled_volume import cuda as sampled_cuda
from flowzoo.operators.sampled_volume import definition as sampled_definition
from flowzoo.operators.splat import cuda as splat_cuda
from flowzoo.operators.splat import definition as splat_definition

DEVICES = ["host", pytest.param("cuda", marks=pytest.mark.cuda)]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the kernels run. Host tensors are CPU tensors; the launches go to the shim."""
    if request.param == "cuda":
        if not (torch.cuda.is_available() and launch.available()):
            pytest.skip("no CUDA device, or no CuPy for it")
        return "cuda"
    monkeypatch.setattr(launch, "start", HostLauncher())
    return "cpu"


def assert_close(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    """Within rounding of the largest value: kernels add in another order, half types round once at the store."""
    assert found.shape == wanted.shape
    assert found.dtype == dtype
    scale = float(wanted.double().abs().max()) or 1.0
    error = float((found.cpu().double() - wanted.double()).abs().max())
    assert error <= TOLERANCE[dtype] * scale, f"off by {error:.3g} of {scale:.3g}"


def maps(*shape: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """Random maps for the kernel, and the same numbers in float64 for the definition."""
    values = torch.randn(*shape).to(dtype)
    return values.to(device), values.double()


def wild_flow(batch: int, rows: int, columns: int) -> Tensor:
    """Flow that stays, leaves the map, leaves it very far, and is no number at all."""
    flow = torch.randn(batch, 2, rows, columns) * max(rows, columns)
    flat = flow.view(-1)
    for step, value in ((7, float("nan")), (11, float("inf")), (13, -1e30), (5, 0.0), (17, 3.0)):
        flat[step - 1 :: step] = value
    return flow


# batch, channels, height, width, radius, dilation
SHAPES = [
    (1, 1, 1, 1, 4, 1),
    (2, 5, 7, 9, 4, 1),
    (1, 3, 5, 33, 3, 2),
    (1, 10, 9, 3, 1, 3),
    (2, 2, 4, 36, 2, 1),
    (1, 3, 6, 8, 5, 1),
    (1, 2, 3, 5, 0, 1),
]


@pytest.mark.parametrize("form", ["lanes", "tiles", "third-tiles"])
@pytest.mark.parametrize("shape", SHAPES)
def test_correlate(shape: tuple[int, ...], form: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation_cuda, "SMALL_MAP", 4096 if form == "lanes" else 0)
    monkeypatch.setattr(launch, "processors", lambda device: 1 if form == "tiles" else 10**9)
    *size, radius, dilation = shape
    first, exact_first = maps(*size, dtype=torch.float32, device=device)
    second, exact_second = maps(*size, dtype=torch.float32, device=device)
    found = correlation_cuda.correlate(first, second, radius, dilation, 0.7)
    wanted = correlation_definition.correlate(exact_first, exact_second, radius, dilation, 0.7)
    assert_close(found, wanted, torch.float32)


@pytest.mark.parametrize("kind", ["gather", "scatter"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gather_and_scatter(shape: tuple[int, ...], kind: str, device: str) -> None:
    batch, channels, height, width, radius, dilation = shape
    displacements = (2 * radius + 1) ** 2
    volume, exact_volume = maps(batch, displacements, height, width, dtype=torch.float32, device=device)
    features, exact_features = maps(batch, channels, height, width, dtype=torch.float32, device=device)
    found = getattr(correlation_cuda, kind)(volume, features, radius, dilation, 0.7)
    wanted = getattr(correlation_definition, kind)(exact_volume, exact_features, radius, dilation, 0.7)
    assert_close(found, wanted, torch.float32)


def test_few_tiles_share_out_their_displacements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level 3 of a 1024x436 pair has 56 tiles: 168 blocks for 132 processors; level 2 has 224 tiles, which do."""
    launched = []
    monkeypatch.setattr(launch, "start", launched.append)
    monkeypatch.setattr(launch, "processors", lambda device: 132)
    for height, width in ((56, 128), (112, 256)):
        maps = torch.zeros(1, 2, height, width)
        correlation_cuda.correlate(maps, maps, 4, 1, 1.0)
    assert [(start.blocks, start.threads) for start in launched] == [(168, (32, 3)), (224, (32, 9))]


def test_gather_takes_more_channels_than_a_block_holds(device: str) -> None:
    volume, exact_volume = maps(1, 9, 3, 4, dtype=torch.float32, device=device)
    features, exact_features = maps(1, 37, 3, 4, dtype=torch.float32, device=device)
    found = correlation_cuda.gather(volume, features, 1, 1, 1.0)
    assert_close(found, correlation_definition.gather(exact_volume, exact_features, 1, 1, 1.0), torch.float32)


# batch, channels, height, width, radius, dilation, stride
SAMPLED_SHAPES = [
    (1, 1, 1, 1, 1, 1, 1),
    (2, 5, 4, 7, 4, 1, 1),
    (1, 9, 5, 6, 1, 2, 2),
    (1, 34, 3, 5, 1, 1, 3),
]


def sampled_inputs(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> tuple[list[Tensor], list[Tensor]]:
    batch, channels, height, width, _, _, stride = shape
    first, exact_first = maps(batch, channels, height, width, dtype=dtype, device=device)
    second, exact_second = maps(batch, channels, height, width, dtype=dtype, device=device)
    flow = wild_flow(batch, height, width)[:, :, ::stride, ::stride]
    thin, exact_thin = first[:, :, ::stride, ::stride], exact_first[:, :, ::stride, ::stride]
    return [thin, second, flow.to(device)], [exact_thin, exact_second, flow.double()]


@pytest.mark.parametrize("absolute", [False, True], ids=["correlation", "sad"])
@pytest.mark.parametrize("shape", SAMPLED_SHAPES)
def test_sampled_volume(shape: tuple[int, ...], absolute: bool, device: str) -> None:
    inputs, exact = sampled_inputs(shape, torch.float32, device)
    found = sampled_cuda.sampled_volume(*inputs, *shape[4:], absolute)
    assert_close(found, sampled_definition.sampled_volume(*exact, *shape[4:], absolute), torch.float32)


@pytest.mark.parametrize("deterministic", [False, True], ids=["atomics", "fixed-point"])
@pytest.mark.parametrize("absolute", [False, True], ids=["correlation", "sad"])
@pytest.mark.parametrize("shape", SAMPLED_SHAPES)
def test_sampled_volume_backward(shape: tuple[int, ...], absolute: bool, deterministic: bool, device: str) -> None:
    inputs, exact = sampled_inputs(shape, torch.float32, device)
    rows, columns = inputs[2].shape[2:]
    incoming = torch.randn(shape[0], (2 * shape[4] + 1) ** 2, rows, columns)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        found = sampled_cuda.sampled_volume_backward(incoming.to(device), *inputs, *shape[4:], absolute)
    finally:
        torch.use_deterministic_algorithms(before)
    wanted = sampled_definition.sampled_volume_backward(incoming.double(), *exact, *shape[4:], absolute)
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other, torch.float32)


def smooth_flow(batch: int, rows: int, columns: int) -> Tensor:
    """Flow that turns and grows, out of the map at an edge, with single pixels that go elsewhere or are no number."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    flow = torch.stack([2 * x - 1.5 * y - 4.3, 1.5 * x + 2 * y + 1.6]).repeat(batch, 1, 1, 1)
    flow[:, :, 2::7, 3::5] += 9.25
    flow[:, 0, 5::11, 1::6] = float("nan")
    return flow


@pytest.mark.parametrize("absolute", [False, True], ids=["correlation", "sad"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomics", "fixed-point"])
@pytest.mark.parametrize(
    "shape", [(2, 37, 11, 19, 4, 1, 1), (1, 8, 18, 17, 2, 1, 2), (1, 4, 9, 10, 5, 1, 1), (1, 4, 5, 6, 0, 1, 1)]
)
def test_gradients_of_smooth_flow(shape: tuple[int, ...], deterministic: bool, absolute: bool, device: str) -> None:
    """Tiles that look to one place are summed in boxes there, and their outliers beside it."""
    batch, channels, height, width, radius, dilation, stride = shape
    second, exact_second = maps(batch, channels, height, width, dtype=torch.float32, device=device)
    rows, columns = -(-height // stride), -(-width // stride)
    first, exact_first = maps(batch, channels, rows, columns, dtype=torch.float32, device=device)
    flow, incoming = smooth_flow(batch, rows, columns), torch.randn(batch, (2 * radius + 1) ** 2, rows, columns)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        given = incoming.to(device), first, second, flow.to(device)
        found = sampled_cuda.sampled_volume_backward(*given, radius, dilation, stride, absolute)
    finally:
        torch.use_deterministic_algorithms(before)
    exact = incoming.double(), exact_first, exact_second, flow.double()
    wanted = sampled_definition.sampled_volume_backward(*exact, radius, dilation, stride, absolute)
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other, torch.float32)


def test_what_a_tile_needs_fits_without_asking() -> None:
    """Up to the largest radius with boxes, a block of SAD's gradients has a warp at least."""
    found = [sampled_cuda.bands_per_block(radius) for radius in range(sampled_cuda.MOST_RADIUS + 1)]
    assert [bands for bands, _ in found] == [4, 4, 4, 4, 4, 2]
    assert all(shared <= launch.MOST_SHARED for _, shared in found)
    assert sampled_cuda.bands_per_block(sampled_cuda.MOST_RADIUS + 1)[0] < 1


@pytest.mark.parametrize("absolute", [False, True], ids=["correlation", "sad"])
def test_where_features_are_equal_sad_has_no_slope(absolute: bool, device: str) -> None:
    """Flat features, and nothing at all outside of the map: zero differences have the gradient zero, as in PyTorch."""
    first, second = torch.zeros(1, 4, 9, 10), torch.zeros(1, 4, 9, 10)
    second[:, :, 4:] = first[:, :, 2:] = 1.0
    flow, incoming = torch.full((1, 2, 9, 10), 1.25), torch.randn(1, 25, 9, 10)
    given = [tensor.to(device) for tensor in (incoming, first, second, flow)]
    found = sampled_cuda.sampled_volume_backward(*given, 2, 1, 1, absolute)
    exact = [tensor.double() for tensor in (incoming, first, second, flow)]
    wanted = sampled_definition.sampled_volume_backward(*exact, 2, 1, 1, absolute)
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other, torch.float32)


@pytest.mark.parametrize("absolute", [False, True], ids=["correlation", "sad"])
def test_large_windows_ask_for_their_shared_memory(absolute: bool, device: str) -> None:
    """A window of radius 9 needs more for SAD than a block has unasked; gradients of correlation are not in boxes."""
    inputs, exact = sampled_inputs((1, 5, 3, 4, 9, 1, 1), torch.float32, device)
    incoming = torch.randn(1, 361, 3, 4)
    assert (sampled_cuda.pixels_per_block("difference_backward", 9, 1, launch.MOST_SHARED)) == 0
    found = sampled_cuda.sampled_volume_backward(incoming.to(device), *inputs, 9, 1, 1, absolute)
    wanted = sampled_definition.sampled_volume_backward(incoming.double(), *exact, 9, 1, 1, absolute)
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other, torch.float32)


@pytest.mark.parametrize("deterministic", [False, True], ids=["atomics", "fixed-point"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 2, 17, 9)])
def test_splat(shape: tuple[int, ...], deterministic: bool, device: str) -> None:
    values, exact = maps(*shape, dtype=torch.float32, device=device)
    flow = wild_flow(shape[0], *shape[2:])
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        found = splat_cuda.splat(values, flow.to(device))
    finally:
        torch.use_deterministic_algorithms(before)
    assert_close(found, splat_definition.splat(exact, flow.double()), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_storage(dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and sums are float32: the only error is the rounding of the result."""
    first, exact_first = maps(1, 6, 5, 12, dtype=dtype, device=device)
    second, exact_second = maps(1, 6, 5, 12, dtype=dtype, device=device)
    volume, exact_volume = maps(1, 81, 5, 12, dtype=dtype, device=device)
    wanted = correlation_definition.correlate(exact_first, exact_second, 4, 1, 1 / 6)
    assert_close(correlation_cuda.correlate(first, second, 4, 1, 1 / 6), wanted, dtype)
    monkeypatch.setattr(correlation_cuda, "SMALL_MAP", 0)
    assert_close(correlation_cuda.correlate(first, second, 4, 1, 1 / 6), wanted, dtype)
    found = correlation_cuda.scatter(volume, first, 4, 1, 1 / 6)
    assert_close(found, correlation_definition.scatter(exact_volume, exact_first, 4, 1, 1 / 6), dtype)
    flow = wild_flow(1, 5, 12)
    found = splat_cuda.splat(first, flow.to(device))
    assert_close(found, splat_definition.splat(exact_first, flow.double()), dtype)
    found = sampled_cuda.sampled_volume(first, second, flow.to(device), 4, 1, 1, False)
    wanted = sampled_definition.sampled_volume(exact_first, exact_second, flow.double(), 4, 1, 1, False)
    assert_close(found, wanted, dtype)


def test_inputs_in_any_memory_order(device: str) -> None:
    """Channels-last and strided views give what contiguous copies give."""
    wide = torch.randn(2, 6, 5, 16, device=device)
    view, turned = wide[:, ::2, :, 1::2], torch.randn(2, 3, 5, 8, device=device).to(memory_format=torch.channels_last)
    found = correlation_cuda.correlate(view, turned, 1, 1, 1.0)
    assert torch.equal(found, correlation_cuda.correlate(view.contiguous(), turned.contiguous(), 1, 1, 1.0))
    flow = torch.randn(2, 2, 5, 8, device=device)
    found = sampled_cuda.sampled_volume(view, turned, flow, 1, 1, 1, False)
    wanted = sampled_cuda.sampled_volume(view.contiguous(), turned.contiguous(), flow, 1, 1, 1, False)
    assert torch.equal(found, wanted)


def test_empty_batch_launches_nothing(device: str) -> None:
    empty, flow = torch.zeros(0, 3, 4, 5, device=device), torch.zeros(0, 2, 4, 5, device=device)
    assert correlation_cuda.correlate(empty, empty, 1, 1, 1.0).shape == (0, 9, 4, 5)
    assert sampled_cuda.sampled_volume(empty, empty, flow, 1, 1, 1, True).shape == (0, 9, 4, 5)
    assert splat_cuda.splat(empty, flow).shape == empty.shape


def test_repeated_calls_are_bit_equal(device: str) -> None:
    """The correlation family has no atomics at all; fixed point makes the others repeatable."""
    volume, features = torch.randn(1, 25, 9, 40, device=device), torch.randn(1, 5, 9, 40, device=device)
    for operator in (correlation_cuda.gather, correlation_cuda.scatter):
        assert torch.equal(operator(volume, features, 2, 1, 1.0), operator(volume, features, 2, 1, 1.0))


@pytest.mark.parametrize("order", [REVERSED, SHUFFLED])
def test_results_do_not_depend_on_the_order_of_threads(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel, run in three orders on the host: equal bits, except where float atomics add."""
    first, second = torch.randn(1, 9, 5, 6), torch.randn(1, 9, 5, 6)
    volume, flow = torch.randn(1, 9, 5, 6), torch.randn(1, 2, 5, 6)
    torch.use_deterministic_algorithms(True)
    try:
        results = []
        for chosen in (FORWARD, order):
            monkeypatch.setattr(launch, "start", HostLauncher(chosen))
            found = []
            for small in (0, 4096):
                monkeypatch.setattr(correlation_cuda, "SMALL_MAP", small)
                found.append(correlation_cuda.correlate(first, second, 1, 1, 1.0))
            found.append(correlation_cuda.scatter(volume, first, 1, 1, 1.0))
            for absolute in (False, True):
                found.append(sampled_cuda.sampled_volume(first, second, flow, 1, 1, 1, absolute))
                found += sampled_cuda.sampled_volume_backward(volume, first, second, flow, 1, 1, 1, absolute)
            found.append(splat_cuda.splat(first, flow))
            results.append(found)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
