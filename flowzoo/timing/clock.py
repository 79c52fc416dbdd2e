"""Timing a callable: median, spread, and peak memory of the process."""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds a call over several calls, and bytes.

    Attributes:
        best, median, worst: of the calls after one that warms up.
        memory: peak memory of one call beyond what was held before it, in bytes; None where it cannot be measured.
    """

    best: float
    median: float
    worst: float
    memory: int | None


def measure(call: Callable[[], object], repeat: int, device: torch.device, *, warm_up: bool = True) -> Timing:
    """Time `call` `repeat` times, after one call that warms up and whose memory is measured."""
    memory = peak_memory(call, device) if warm_up else None
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return Timing(min(seconds), statistics.median(seconds), max(seconds), memory)


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that `call` needs at its peak beyond what is held before it.

    On a CPU this is the rise of the process' resident memory, so it is meaningful in a fresh process only.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    held = _resident("VmRSS")
    _reset_peak()
    call()
    peak = _resident("VmHWM")
    return None if held is None or peak is None else peak - held


def _reset_peak() -> None:
    """Make Linux forget the highest resident size so far; elsewhere the peak is the process' whole life."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _largest() -> int | None:
    """Peak memory of this process where there is no /proc: on macOS; Windows has no such module."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _resident(key: str) -> int | None:
    """VmRSS (now) or VmHWM (peak) of this process in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return _largest()
    for line in lines:
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return None
