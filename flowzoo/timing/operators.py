"""Times every operator on every backend that runs here, at the sizes the zoo's networks meet.

Backends take turns within one run, so their ratios hold on a busy machine too; each time is the best of many.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators import launch, native, warp
from flowzoo.operators.registration import REGISTERED

SHAPES = {
    "pwc level 6": (1, 196, 7, 16, 4),
    "pwc level 5": (1, 128, 14, 32, 4),
    "pwc level 4": (1, 96, 28, 64, 4),
    "pwc level 3": (1, 64, 56, 128, 4),
    "pwc level 2": (1, 32, 112, 256, 4),
    "liteflownet2 level 6": (1, 192, 7, 16, 3),
    "liteflownet2 level 5": (1, 128, 14, 32, 3),
    "liteflownet2 level 4": (1, 96, 28, 64, 3),
    "liteflownet2 level 3": (1, 64, 28, 64, 3),
    "training level 4": (8, 96, 24, 48, 4),
    "training level 3": (8, 64, 48, 96, 4),
    "training level 2": (8, 32, 96, 192, 4),
    "512x32x32": (1, 512, 32, 32, 4),
    "256x64x64": (1, 256, 64, 64, 4),
}
"""Name -> batch, channels, height, width, radius: 1024x448 images, batches of 768x384 crops, GOCor's maps."""

ROOFLINES = {
    "H200": (4.8e12, 67e12),
    "H100 80GB HBM3": (3.35e12, 67e12),
    "A100-SXM4-80GB": (2.04e12, 19.5e12),
    "RTX 4090": (1.01e12, 82.6e12),
    "RTX 3090": (0.94e12, 35.6e12),
}
"""Part of a device's name -> bytes per second from memory, float32 operations per second, by its data sheet."""


@dataclass(frozen=True)
class Case:
    """One operator at one shape: the work it must do, and a call for each backend."""

    operator: str
    shape: str
    flops: float
    least_bytes: float
    calls: dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Row:
    """One backend's result."""

    operator: str
    shape: str
    backend: str
    seconds: float
    ratio: float  # of the portable version's time to this one's: higher is faster
    gflops: float
    gigabytes_per_second: float  # counting every input and output once
    roofline_share: float | None  # of the time the device's data sheet allows; None where it is not known
    host_seconds: float | None  # CUDA: time until the call returns


def cases(device: torch.device, shapes: list[str]) -> Iterator[Case]:
    """All operators at the given SHAPES."""
    for name in shapes:
        maps = _Maps.random(device, name)
        yield from _correlation_cases(maps)
        yield from _sampled_cases(maps)
        yield from _flow_cases(maps)


@dataclass(frozen=True)
class _Maps:
    """What operators take, at one of SHAPES."""

    name: str
    first: Tensor
    second: Tensor
    volume: Tensor
    flow: Tensor
    radius: int

    @classmethod
    def random(cls, device: torch.device, name: str) -> "_Maps":
        batch, channels, height, width, radius = SHAPES[name]
        generator = torch.Generator().manual_seed(0)
        first, second = (torch.randn(batch, channels, height, width, generator=generator).to(device) for _ in range(2))
        volume = torch.randn(batch, (2 * radius + 1) ** 2, height, width, generator=generator).to(device)
        coarse = 3 * torch.randn(batch, 2, 4, 8, generator=generator)
        flow = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True).to(device)
        return cls(name, first, second, volume, flow, radius)

    def case(self, label: str, operator: str, arguments: tuple[object, ...], flops: float, numbers: int) -> Case:
        """A registered operator on the backends it has here. `numbers`: those read and written, each once."""
        calls = backends(operator, self.first.device)
        bound: dict[str, Callable[[], object]] = {name: partial(call, *arguments) for name, call in calls.items()}
        return Case(label, self.name, flops, 4.0 * numbers, bound)


def backends(operator: str, device: torch.device) -> dict[str, Callable[..., object]]:
    """The portable version of a registered operator, and the fast one where there is one for this device."""
    versions = REGISTERED[operator]
    calls = {"portable": versions.portable}
    if device.type == "cuda" and versions.cuda is not None and launch.available():
        calls["kernel"] = versions.cuda
    if device.type == "cpu" and versions.cpu is not None and native.library() is not None:
        calls["native"] = versions.cpu
    return calls


def _correlation_cases(maps: _Maps) -> Iterator[Case]:
    first, second, volume = maps.first, maps.second, maps.volume
    window = maps.radius, 1, 1.0 / first.shape[1]
    for operator, inputs in (
        ("correlate", (first, second)),
        ("gather", (volume, second)),
        ("scatter", (volume, first)),
    ):
        flops, numbers = 2.0 * first.numel() * volume.shape[1], 2 * first.numel() + volume.numel()
        yield maps.case(operator, operator, (*inputs, *window), flops, numbers)


def _sampled_cases(maps: _Maps) -> Iterator[Case]:
    inputs = maps.first, maps.second, maps.flow
    dots = 2.0 * maps.first.numel() * (2 * maps.radius + 2) ** 2
    blends = 9.0 * maps.first.numel() * maps.volume.shape[1]
    count, costs = sum(tensor.numel() for tensor in inputs), maps.volume.numel()
    for measure, absolute, flops in (("correlation", False, dots), ("sad", True, blends)):
        arguments = *inputs, maps.radius, 1, 1, absolute
        yield maps.case(f"sampled {measure}", "sampled_volume", arguments, flops, count + costs)
        backward = maps.volume, *arguments
        label = f"sampled {measure} backward"
        yield maps.case(label, "sampled_volume_backward", backward, 3 * flops, 2 * count + costs)


def _flow_cases(maps: _Maps) -> Iterator[Case]:
    first, volume, flow = maps.first, maps.volume, maps.flow
    flops, numbers = 8.0 * first.numel(), 2 * first.numel() + flow.numel()
    yield Case("warp", maps.name, flops, 4.0 * numbers, {"portable": partial(warp, first, flow)})
    yield maps.case("splat", "splat", (first, flow), flops, numbers)
    flops, numbers = 2.0 * flow.numel() * volume.shape[1], 2 * flow.numel() + volume.numel()
    yield maps.case("local convolution", "gather", (volume, flow, maps.radius, 1, 1.0), flops, numbers)


def measure(case: Case, device: torch.device, seconds: float) -> list[Row]:
    """Times all backends of a case for about `seconds` each; the portable one first."""
    best = dict.fromkeys(case.calls, float("inf"))
    host = dict.fromkeys(case.calls, float("inf"))
    with torch.no_grad():
        for call in case.calls.values():
            call()
        deadline = time.perf_counter() + seconds * len(case.calls)
        rounds = 0
        while rounds < 3 or time.perf_counter() < deadline:
            rounds += 1
            for name, call in case.calls.items():
                elapsed, returned = _time_cuda(call, device) if device.type == "cuda" else _time_cpu(call)
                best[name], host[name] = min(best[name], elapsed), min(host[name], returned)
    allowed = _allowed_seconds(case, device)
    return [
        Row(
            case.operator,
            case.shape,
            name,
            elapsed,
            best["portable"] / elapsed,
            case.flops / elapsed / 1e9,
            case.least_bytes / elapsed / 1e9,
            None if allowed is None else allowed / elapsed,
            host[name] if device.type == "cuda" else None,
        )
        for name, elapsed in best.items()
    ]


def _time_cpu(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call behind another one, so that no backend starts with what the one before left in the caches."""
    call()
    start = time.perf_counter()
    call()
    elapsed = time.perf_counter() - start
    return elapsed, elapsed


def _time_cuda(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """(device, host) seconds a call, from a row of calls between two events."""
    repeats = 20
    with torch.cuda.device(device):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        begun = time.perf_counter()
        for _ in range(repeats):
            call()
        returned = time.perf_counter() - begun
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3 / repeats, returned / repeats


def _allowed_seconds(case: Case, device: torch.device) -> float | None:
    """What memory or arithmetic alone would take by the device's data sheet."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    for part, (bandwidth, peak) in ROOFLINES.items():
        if part in name:
            return max(case.least_bytes / bandwidth, case.flops / peak)
    return None
