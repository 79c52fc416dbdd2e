"""Times every operator on every backend that runs here.

Backends take turns within one run, so their ratios hold on a busy machine too; each time is the best of many.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from flowzoo.timing.operator_cases import Case

ROOFLINES = {
    "H200": (4.8e12, 67e12),
    "H100 80GB HBM3": (3.35e12, 67e12),
    "A100-SXM4-80GB": (2.04e12, 19.5e12),
    "RTX 4090": (1.01e12, 82.6e12),
    "RTX 3090": (0.94e12, 35.6e12),
}
"""Part of a device's name -> bytes per second from memory, float32 operations per second, by its data sheet."""


SLOW = 0.02
"""Seconds: on CUDA, a call that takes longer (a portable version made of many launches) is timed once."""


@dataclass(frozen=True)
class Row:
    """One backend's result."""

    operator: str
    shape: str
    backend: str
    seconds: float
    ratio: float  # of the first version's time, which is the portable one's, to this one's: higher is faster
    gflops: float
    gigabytes_per_second: float  # counting every input and output once
    roofline_share: float | None  # of the time the device's data sheet allows; None where it is not known
    host_seconds: float | None  # CUDA: time until the call returns


def measure(case: Case, device: torch.device, seconds: float) -> list[Row]:
    """Times all backends of a case for about `seconds` each; the one that others are compared with first."""
    best = dict.fromkeys(case.calls, float("inf"))
    host = dict.fromkeys(case.calls, float("inf"))
    with torch.no_grad():
        for name, call in case.calls.items():
            call()
            if device.type == "cuda":
                best[name], host[name] = _time_cuda(call, device, repeats=1)
        timed = {name: call for name, call in case.calls.items() if device.type != "cuda" or best[name] < SLOW}
        deadline = time.perf_counter() + seconds * len(timed)
        rounds = 0
        while rounds < 3 or time.perf_counter() < deadline:
            rounds += 1
            for name, call in timed.items():
                elapsed, returned = _time_cuda(call, device) if device.type == "cuda" else _time_cpu(call)
                best[name], host[name] = min(best[name], elapsed), min(host[name], returned)
    allowed, first = _allowed_seconds(case, device), next(iter(case.calls))
    return [
        Row(
            case.operator,
            case.shape,
            name,
            elapsed,
            best[first] / elapsed,
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


def _time_cuda(call: Callable[[], object], device: torch.device, repeats: int = 20) -> tuple[float, float]:
    """(device, host) seconds a call, from a row of calls between two events."""
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
