"""One command for anyone with a GPU: are the CUDA kernels right there, and how fast is everything?

    python tools/gpu_report.py [--minutes 8] [-o DIR]

Writes DIR/gpu-report.md and DIR/gpu-report.json (default: the current folder). Needs PyTorch and CuPy; pytest,
compute-sanitizer and ptlflow are used where they are installed. In this order, each part with a share of the minutes:
the tests that need a GPU (in several processes with pytest-xdist); compute-sanitizer on one call of every kernel; the
table of operators; whole networks with and without CUDA graphs, beside ptlflow's. Every part runs in a process
of its own and writes its rows as it goes, so one that fails or runs out of time is reported with what it has, and the
others still run.

--rehearse runs all of it without a GPU, on small sizes, with a CUDA that does nothing: for those who change this file.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
SHARES = {"tests": 0.28, "sanitizer": 0.14, "operators": 0.2, "networks": 0.33}
"""Parts of the report, in order, and what of the minutes each may take."""

NETWORKS = ("wren", "pwcnet", "raft", "liteflownet2")
PRECISIONS = ("float32", "tf32", "bfloat16")
"""Of convolutions: float32 as such, PyTorch's default on a GPU that has it (ten bits of the mantissa), autocast."""
Rows = Iterator[dict[str, Any]]


@dataclasses.dataclass
class Scale:
    """What the parts work on; a rehearsal has less."""

    device: str = "cuda"
    networks: tuple[str, ...] = NETWORKS
    size: tuple[int, int] = (436, 1024)
    shapes: tuple[str, ...] | None = None  # of the table of operators; None = all
    seconds: float = 0.05  # for each backend of an operator
    calls: int = 10  # of a network, a round


SCALE = Scale()


def environment() -> dict[str, str]:
    """What the numbers depend on."""
    import torch

    facts = {"python": platform.python_version(), "torch": torch.__version__, "cuda": str(torch.version.cuda)}
    facts["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    cupy = importlib.util.find_spec("cupy")
    facts["cupy"] = __import__("cupy").__version__ if cupy else "missing"
    return facts


def tests() -> Rows:
    """The tests that need a GPU: kernels forward and backward, networks, rendering."""
    files = sorted(str(path) for path in TESTS.rglob("test_*.py") if "mark.cuda" in path.read_text())
    processes = min(12, (os.cpu_count() or 1) - 2)
    spread = ["-n", str(processes)] if importlib.util.find_spec("xdist") and processes > 1 else []
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-m", "cuda", *spread, "-o", "addopts=", *files]
    yield _run("tests", command, "pytest")


def sanitizer() -> Rows:
    """One call of every operator with kernels under compute-sanitizer: memory, then races in shared memory."""
    command = [sys.executable, str(Path(__file__).resolve()), "--part", "touch"]
    for tool in ("memcheck", "racecheck"):
        checked = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "1", *command]
        yield _run(tool, checked, "compute-sanitizer")


def touch() -> Rows:
    """Every operator's fast version once at a small size, and its largest difference from the portable one."""
    import torch

    from flowzoo.timing.operator_cases import cases

    for case in cases(torch.device(SCALE.device), ["pwc level 6", "edvr-m level 3"]):
        wanted = _tensors(case.calls["portable"]()) if "portable" in case.calls else ()
        for backend, call in case.calls.items():
            found = _tensors(call())
            if backend != "portable" and wanted:
                error = max(map(_difference, found, wanted))
                yield {"operator": case.operator, "shape": case.shape, "backend": backend, "error": error}


def _tensors(result: Any) -> tuple[Any, ...]:
    return tuple(part for part in (result if isinstance(result, tuple) else (result,)) if part is not None)


def _difference(found: Any, wanted: Any) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))


def _run(title: str, command: list[str], needs: str) -> dict[str, Any]:
    if not (importlib.util.find_spec(needs) or shutil.which(needs)):
        return {"what": title, "status": f"not run: {needs} is not installed", "output": ""}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    tail = [line for line in lines if line.startswith(("FAILED", "ERROR"))][:10] + lines[-1:]
    passed = done.returncode == 0 or (needs == "pytest" and done.returncode == 5)  # 5: nothing was selected
    return {"what": title, "status": "passed" if passed else "FAILED", "output": " / ".join(tail)}


def operators() -> Rows:
    """The table of `flowzoo bench operators`, with the number of kernels each call launches."""
    import torch

    from flowzoo.timing import operators as benchmark
    from flowzoo.timing.operator_cases import NAMES, cases

    for case in cases(torch.device(SCALE.device), list(SCALE.shapes or NAMES)):
        launches = {name: _launches(call) for name, call in case.calls.items() if name != "portable"}
        for row in benchmark.measure(case, torch.device(SCALE.device), SCALE.seconds):
            yield {**dataclasses.asdict(row), "launches": launches.get(row.backend)}


def _launches(call: Callable[[], Any]) -> int:
    """Kernels and memory operations that one call starts."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        call()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profiler.events())


def networks() -> Rows:
    """Whole networks at batch 1: with each choice that a device may want to have made otherwise."""
    import torch

    from flowzoo import create

    yield from _ptlflow()
    for name in SCALE.networks:
        images = torch.rand(2, 1, 3, *SCALE.size, device=SCALE.device)
        for precision in PRECISIONS:
            for layout in ("contiguous", "channels_last"):
                network = create(name).to(SCALE.device)
                network.to(memory_format=getattr(torch, f"{layout}_format" if layout == "contiguous" else layout))
                for tuned in (False, True):
                    torch.backends.cudnn.benchmark = tuned
                    call = _inference(lambda network=network, images=images: network(images[0], images[1]), precision)
                    choices = {"precision": precision, "layout": layout, "cudnn.benchmark": tuned}
                    yield {"network": name, **choices, **_measured(call)}


def _ptlflow() -> Rows:
    """ptlflow's PWC-Net and RAFT, where it is installed."""
    if not importlib.util.find_spec("ptlflow"):
        return
    import ptlflow
    import torch

    inputs = {"images": torch.rand(1, 2, 3, *SCALE.size, device=SCALE.device)}
    for name in ("pwcnet", "raft"):
        model = ptlflow.get_model(name).to(SCALE.device).eval()
        for precision in PRECISIONS:
            choices = {"precision": precision, "layout": "contiguous", "cudnn.benchmark": False}
            call = _inference(lambda model=model: model(inputs), precision)
            yield {"network": f"ptlflow's {name}", **choices, **_measured(call)}


def _inference(call: Callable[[], Any], precision: str) -> Callable[[], Any]:
    import torch

    def run() -> Any:
        kind = torch.device(SCALE.device).type
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"):
            return call()

    return run


def _measured(call: Callable[[], Any]) -> dict[str, Any]:
    """Milliseconds with and without a CUDA graph, and peak memory."""
    import torch

    call()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - held
    row: dict[str, Any] = {"eager_ms": _milliseconds(call), "graph_ms": None, "peak_megabytes": peak / 1e6}
    try:
        row["graph_ms"] = _milliseconds(_graph(call))
    except RuntimeError as error:  # what cannot be captured is a result, too
        row["graph_ms"] = "not captured: " + str(error).splitlines()[0][:80]
    return row


def _graph(call: Callable[[], Any]) -> Callable[[], Any]:
    """`call` captured as a CUDA graph; what it returns replays it."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def _milliseconds(call: Callable[[], Any]) -> float:
    """Best of several rounds."""
    import torch

    best = float("inf")
    for _ in range(3):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(SCALE.calls):
            call()
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - begun) * 1e3 / SCALE.calls)
    return best


def rehearse() -> None:
    """From now on a CUDA device seems to be there that does nothing; all tensors are the CPU's."""
    import types

    import torch

    @contextlib.contextmanager
    def nothing(*_: Any, **__: Any) -> Iterator[None]:
        yield

    stream = types.SimpleNamespace(wait_stream=lambda other: None)
    fakes: dict[str, Any] = dict.fromkeys(("synchronize", "reset_peak_memory_stats"), lambda *_: None)
    fakes |= dict.fromkeys(("memory_allocated", "max_memory_allocated"), lambda *_: 0)
    fakes |= dict.fromkeys(("Stream", "current_stream"), lambda *_: stream)
    fakes |= dict.fromkeys(("stream", "graph"), nothing)
    fakes["CUDAGraph"] = lambda: types.SimpleNamespace(replay=lambda: None)
    for name, fake in fakes.items():
        setattr(torch.cuda, name, fake)
    SCALE.device, SCALE.networks, SCALE.size = "cpu", ("liteflownetx",), (64, 64)
    SCALE.shapes, SCALE.seconds, SCALE.calls = ("pwc level 6",), 0.0, 1


def markdown(report: dict[str, Any]) -> str:
    """The report for reading."""
    lines = ["# flowzoo on this GPU", ""]
    lines += [f"- {key}: {value}" for key, value in report["environment"].items()]
    for part in SHARES:
        result = report[part]
        lines += ["", f"## {part}", "", *_table(result["rows"])]
        if result["problem"]:
            lines += ["", f"FAILED: {result['problem']}"]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["nothing was measured"]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (names, ["---"] * len(names), *cells)]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def collect(part: str, seconds: float, *, rehearsal: bool = False) -> dict[str, Any]:
    """One part in a process of its own: its rows, also where it failed or was stopped, and what went wrong."""
    command = [sys.executable, str(Path(__file__).resolve()), "--part", part, *(["--rehearse"] if rehearsal else [])]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, cwd=ROOT, env=settings, start_new_session=True)
        try:
            status, problem = process.wait(seconds), None
        except subprocess.TimeoutExpired:
            status, problem = 0, f"stopped after {seconds:.0f} s"
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started itself
            process.wait()
        out.seek(0)
        errors.seek(0)
        if status != 0:
            problem = " / ".join(errors.read().strip().splitlines()[-3:]) or f"exit status {status}"
        lines = [line for line in out if line.startswith("{") and line.endswith("}\n")]
    return {"rows": [json.loads(line) for line in lines], "problem": problem}


def main(words: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="where to write the two files")
    parser.add_argument("--minutes", type=float, default=8.0, metavar="N", help="for all of it (default: 8)")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU, on small sizes")
    parser.add_argument("--part", choices=(*SHARES, "touch"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.part:
        if arguments.rehearse:
            rehearse()
        for row in globals()[arguments.part]():
            print(json.dumps(row), flush=True)
        return 0
    sys.path.insert(0, str(ROOT))
    report: dict[str, Any] = {"environment": environment()}
    lacking = report["environment"]["device"] == "none" or report["environment"]["cupy"] == "missing"
    if lacking and not arguments.rehearse:
        print("gpu_report: needs a CUDA device and CuPy (pip install 'flowzoo[cuda13]' or [cuda12])", file=sys.stderr)
        return 2
    arguments.output.mkdir(parents=True, exist_ok=True)
    for part, share in SHARES.items():
        seconds = 60 * arguments.minutes * share
        print(f"{part} (at most {seconds:.0f} s) ...", flush=True)
        report[part] = collect(part, seconds, rehearsal=arguments.rehearse)
    (arguments.output / "gpu-report.json").write_text(json.dumps(report, indent=1))
    (arguments.output / "gpu-report.md").write_text(markdown(report))
    print(f"wrote {arguments.output / 'gpu-report.md'} and {arguments.output / 'gpu-report.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
