"""The kernel tests can fail: break a kernel in one place and they do. And unbroken, no access leaves its buffer."""

import ctypes
from collections.abc import Callable

import kernel_sanitizer
import pytest
import torch
from kernel_host import FORWARD, REVERSED, SHUFFLED, HostLauncher, build, library
from kernel_mutations import (
    BOUNDS,
    MUTATIONS,
    correlate_in_tiles,
    differences_in_boxes,
    dilated_correlation,
    dilated_difference,
    gather,
    gradients_in_boxes,
    sampled_correlation,
    sampled_difference,
    scatter,
    splat,
)

from flowzoo.operators import launch
from flowzoo.operators.correlation import cuda as correlation_cuda
from flowzoo.operators.launch import source_text
from flowzoo.operators.sampled_volume import cuda as sampled_cuda
from flowzoo.operators.splat import cuda as splat_cuda


@pytest.fixture(autouse=True)
def _tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation_cuda, "SMALL_MAP", 0)
    monkeypatch.setattr(launch, "processors", lambda device: 1)  # whole tiles: blocks of several warps


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_kernel_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, operator, original, replacement = MUTATIONS[name]
    text = source_text(source)
    assert text.count(original) == 1, f"{original!r} must occur once in {source}"
    mutated = text.replace(original, replacement)

    def libraries(wanted: str, defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
        if wanted != source:
            return library(wanted, defines)
        return ctypes.CDLL(str(build(mutated, defines, name="mutation-" + name.replace(" ", "-"))))

    assert any(_fails(operator, HostLauncher(order, libraries), monkeypatch) for order in (FORWARD, REVERSED, SHUFFLED))


def _fails(operator: Callable[[], bool], start: HostLauncher, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(launch, "start", start)
    try:
        return not operator()
    except RuntimeError as error:
        return "barrier" in str(error)  # the shim's report of a divergence


def test_a_barrier_that_some_threads_miss_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    text = source_text("correlation.cu").replace(
        "const int column = lane % 8 * 4, row = lane / 8;",
        "const int column = lane % 8 * 4, row = lane / 8;\n    if (lane == 7) return;",
    )

    def libraries(source: str, defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
        return ctypes.CDLL(str(build(text, defines, name="divergent")))

    monkeypatch.setattr(launch, "start", HostLauncher(FORWARD, libraries))
    with pytest.raises(RuntimeError, match="divergence"):
        correlate_in_tiles()


@pytest.mark.parametrize("name", BOUNDS)
def test_a_missing_bounds_check_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, operator, original, replacement = BOUNDS[name]
    recorder = kernel_sanitizer.Recorder()
    monkeypatch.setattr(launch, "start", recorder)
    operator()
    defines = next(defines for name, defines in recorder.jobs if name == source)
    jobs = recorder.jobs[source, defines]
    done = kernel_sanitizer.run(jobs, source, defines, name=name.replace(" ", "-"), replaced=(original, replacement))
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr, done.stderr


def test_unbroken_kernels_stay_inside_their_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All kernels under the address and undefined-behaviour sanitizers, with flow that is far outside or no number."""
    recorder = kernel_sanitizer.Recorder()
    monkeypatch.setattr(launch, "start", recorder)
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        try:
            for operator in (correlate_in_tiles, gather, scatter, sampled_correlation, sampled_difference, splat):
                operator()
            dilated_correlation()
            dilated_difference()
            gradients_in_boxes()
            differences_in_boxes()
            flow = torch.tensor([float("nan"), 1e30, -1e30, float("inf"), 0.0, -5.0]).repeat(2).view(1, 2, 2, 3)
            features, incoming = torch.randn(1, 3, 2, 3), torch.randn(1, 9, 2, 3)
            for absolute in (False, True):
                sampled_cuda.sampled_volume(features, features, flow, 1, 2, 1, absolute)
                sampled_cuda.sampled_volume_backward(incoming, features, features, flow, 1, 2, 1, absolute)
            splat_cuda.splat(features, flow)
        finally:
            torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(correlation_cuda, "SMALL_MAP", 4096)
    correlate_in_tiles()
    for (source, defines), jobs in recorder.jobs.items():
        done = kernel_sanitizer.run(jobs, source, defines)
        assert done.returncode == 0, done.stderr[:2000]
