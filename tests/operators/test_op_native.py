"""The C++ kernels of the CPU: they agree with the portable operators, and never get in the way."""

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from flowzoo.operators import native, native_call
from flowzoo.operators.convex_upsampling import cpu as upsampling_cpu
from flowzoo.operators.convex_upsampling import definition as upsampling_definition
from flowzoo.operators.correlation import cpu as correlation_cpu
from flowzoo.operators.correlation import definition as correlation_definition
from flowzoo.operators.sampled_volume import cpu as sampled_cpu
from flowzoo.operators.sampled_volume import definition as sampled_definition


def kernels() -> None:
    if native.library() is None:
        pytest.skip("no C++ compiler to build the CPU kernels with")


def agree(found: torch.Tensor, wanted: torch.Tensor) -> None:
    scale = float(wanted.abs().max()) or 1.0
    assert float((found - wanted).abs().max()) <= 5e-6 * scale


# batch, channels, height, width, radius, dilation
SHAPES = [
    (1, 196, 7, 16, 4, 1),
    (2, 33, 27, 50, 3, 1),
    (1, 8, 50, 17, 4, 1),
    (1, 7, 13, 41, 2, 3),
    (1, 5, 9, 131, 4, 1),
    (1, 3, 5, 300, 4, 1),
    (1, 300, 5, 70, 4, 1),
    (3, 1, 1, 1, 4, 2),
    (1, 9, 31, 15, 6, 1),
    (1, 5, 26, 70, 8, 2),
    (1, 2, 29, 33, 1, 1),
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_correlation_family(shape: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels()
    monkeypatch.setattr(native_call, "threads_for", lambda flops: threads)
    *size, radius, dilation = shape
    first, second = torch.randn(*size), torch.randn(*size)
    volume = torch.randn(size[0], (2 * radius + 1) ** 2, *size[2:])
    window = (radius, dilation, 0.3)
    agree(
        correlation_cpu.correlate(first, second, *window),
        correlation_definition.correlate(first, second, *window),
    )
    agree(correlation_cpu.gather(volume, first, *window), correlation_definition.gather(volume, first, *window))
    agree(correlation_cpu.scatter(volume, first, *window), correlation_definition.scatter(volume, first, *window))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("factor", "size"), [(1, (1, 1)), (2, (3, 9)), (3, (2, 1)), (4, (7, 5)), (8, (4, 3))])
def test_convex_upsampling(factor: int, size: tuple[int, int], dtype: torch.dtype) -> None:
    kernels()
    flow, gradient = torch.randn(2, 2, *size), torch.randn(2, 2, size[0] * factor, size[1] * factor)
    logits = (3 * torch.randn(2, 9 * factor**2, *size)).to(dtype)
    for inputs in ((flow, logits), (flow, logits.contiguous(memory_format=torch.channels_last))):
        wanted = upsampling_definition.convex_upsampling(*inputs, factor)
        agree(upsampling_cpu.convex_upsampling(*inputs, factor), wanted)
        to_flow, to_logits = upsampling_cpu.convex_upsampling_backward(gradient, *inputs, factor)
        wanted_flow, wanted_logits = upsampling_definition.convex_upsampling_backward(gradient, *inputs, factor)
        agree(to_flow, wanted_flow)
        assert to_logits.dtype == dtype
        rounding = 2**-7 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(to_logits, wanted_logits, rtol=rounding, atol=1e-5)


def test_convex_upsampling_passes_nan_on_and_nothing_else() -> None:
    kernels()
    logits = torch.randn(1, 144, 3, 4)
    logits[0, 5, 1, 2] = float("nan")
    fine = upsampling_cpu.convex_upsampling(torch.randn(1, 2, 3, 4), logits, 4)
    assert fine.isnan().sum() == 2
    assert fine[0, :, 5, 9].isnan().all()


# batch, channels, height, width, radius, dilation, stride
SAMPLED_SHAPES = [
    (1, 37, 9, 21, 4, 1, 1),
    (2, 3, 12, 40, 3, 2, 2),
    (1, 64, 5, 6, 7, 1, 1),
    (1, 4, 8, 9, 7, 3, 1),
    (3, 1, 1, 1, 0, 1, 1),
    (1, 8, 14, 19, 2, 2, 3),
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("absolute", [False, True], ids=["correlation", "sad"])
@pytest.mark.parametrize("shape", SAMPLED_SHAPES)
def test_sampled_family(shape: tuple[int, ...], absolute: bool, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels()
    monkeypatch.setattr(native_call, "threads_for", lambda flops: threads)
    batch, channels, height, width, radius, dilation, stride = shape
    second = torch.randn(batch, channels, height, width)
    first = torch.randn(batch, channels, height, width)[:, :, ::stride, ::stride]
    rows, columns = first.shape[2:]
    flow = torch.randn(batch, 2, rows, columns) * width / 2
    for step, value in ((7, float("nan")), (11, float("inf")), (13, -1e30), (5, 2.0)):
        flow.view(-1)[step - 1 :: step] = value
    window = (radius, dilation, stride, absolute)
    agree(
        sampled_cpu.sampled_volume(first, second, flow, *window),
        sampled_definition.sampled_volume(first, second, flow, *window),
    )
    incoming = torch.randn(batch, (2 * radius + 1) ** 2, rows, columns)
    found = sampled_cpu.sampled_volume_backward(incoming, first, second, flow, *window)
    wanted = sampled_definition.sampled_volume_backward(incoming, first, second, flow, *window)
    for one, other in zip(found, wanted, strict=True):
        agree(one, other)


def test_number_of_threads_does_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels()
    first, second = torch.randn(1, 20, 60, 70), torch.randn(1, 20, 60, 70)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        results.append(correlation_cpu.correlate(first, second, 4, 1, 1.0))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


PROGRAM = (
    "import torch; from flowzoo.operators import correlation; "
    "x = torch.ones(1, 2, 4, 4); print(float(correlation(x, x, 1).sum()))"
)


def run(tmp_path: Path, program: str = PROGRAM, **settings: str) -> subprocess.CompletedProcess[str]:
    """A fresh process with its own cache."""
    environment = {**os.environ, "FLOWZOO_CACHE": str(tmp_path), "TMPDIR": str(tmp_path.parent), **settings}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=1800, check=False, env=environment
    )


def test_switched_off_builds_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, FLOWZOO_NATIVE="0")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "100.0", "")
    assert list(tmp_path.iterdir()) == []


def test_import_builds_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "import flowzoo.operators")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_it_says_so_once_and_works(tmp_path: Path) -> None:
    program = "import logging; logging.basicConfig(level=logging.INFO); " + PROGRAM + "; correlation(x, x, 1)"
    done = run(tmp_path, program, PATH=str(tmp_path), CXX="no-such-compiler")
    assert (done.returncode, done.stdout.strip()) == (0, "100.0")
    assert done.stderr.count("portable operators") == 1
    assert "no C++ compiler" in done.stderr


@pytest.mark.parametrize("kind", ["fails", "writes rubbish"])
def test_a_broken_compiler_is_survived_in_silence(tmp_path: Path, kind: str) -> None:
    compiler = tmp_path / "broken-c++"
    answer = {"fails": "exit 1", "writes rubbish": '[ "$last" = --version ] || echo rubbish > "$last"'}[kind]
    compiler.write_text(f"#!/bin/sh\nfor last; do :; done\n{answer}\n")
    compiler.chmod(0o755)
    done = run(tmp_path / "cache", CXX=str(compiler))
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "100.0", "")
    assert not list((tmp_path / "cache").rglob("*partial*"))


def test_a_cache_that_cannot_be_written_is_survived(tmp_path: Path, hasty_compiler: str) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file", CXX=hasty_compiler)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "100.0", "")


def test_processes_that_start_together_build_once(tmp_path: Path, hasty_compiler: str) -> None:
    """The library and its record appear whole, with no temporary file left."""
    kernels()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: run(tmp_path, CXX=hasty_compiler), range(2)))
    assert [done.stdout.strip() for done in results] == ["100.0"] * 2
    assert [done.stderr for done in results] == [""] * 2
    files = sorted((tmp_path / "native").iterdir())
    assert [file.suffix for file in files] == ["", ".json", ".so"]  # the first is the lock


def test_the_cache_key_holds_source_compiler_and_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.cpp"
    source.write_text("one")
    keys = {native._key("/bin/true", {"a.cpp": source})}
    source.write_text("two")
    keys.add(native._key("/bin/true", {"a.cpp": source}))
    keys.add(native._key("/bin/echo", {"a.cpp": source}))
    monkeypatch.setattr(native, "processor_features", lambda: "another processor")
    keys.add(native._key("/bin/true", {"a.cpp": source}))
    assert len(keys) == 4


def test_out_of_memory_falls_back(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A kernel that reports failure is replaced by the portable operator for that call."""

    class Failing:
        def __getattr__(self, name: str) -> object:
            def function(*arguments: object) -> int:
                return 1

            return function

    monkeypatch.setattr(native, "library", Failing)
    caplog.set_level(logging.INFO)
    maps, volume, flow = torch.randn(1, 2, 3, 4), torch.randn(1, 9, 3, 4), torch.randn(1, 2, 3, 4)
    agree(correlation_cpu.correlate(maps, maps, 1, 1, 1.0), correlation_definition.correlate(maps, maps, 1, 1, 1.0))
    agree(correlation_cpu.scatter(volume, maps, 1, 1, 1.0), correlation_definition.scatter(volume, maps, 1, 1, 1.0))
    agree(
        sampled_cpu.sampled_volume(maps, maps, flow, 1, 1, 1, False),
        sampled_definition.sampled_volume(maps, maps, flow, 1, 1, 1, False),
    )


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="pages have one size here")
def test_large_results_may_have_large_pages() -> None:
    large, small = (torch.empty(size) for size in (8 << 20, 1 << 10))
    assert native_call.in_large_pages(large) is large
    assert native_call.in_large_pages(small) is small
    place, flags = large.data_ptr() + (4 << 20), ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        bounds, _, _ = line.partition(" ")
        if "-" in bounds:
            begin, end = (int(bound, 16) for bound in bounds.split("-"))
        elif line.startswith("VmFlags:") and begin <= place < end:
            flags = line
    assert " hg" in flags
