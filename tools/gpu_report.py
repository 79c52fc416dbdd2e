"""One command for anyone with a GPU: are the CUDA kernels right there, and how fast is everything?

    python tools/gpu_report.py [-o DIR]

Writes DIR/gpu-report.md and DIR/gpu-report.json (default: the current folder) in under ten minutes. Needs PyTorch and
CuPy; pytest and compute-sanitizer are used where they are installed. Every part runs in a process of its own, so one
that fails is reported and the others still run.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "operators" / "test_op_cuda_kernels.py"
SECONDS = {"agreement": 60, "tests": 120, "sanitizer": 120, "operators": 100, "networks": 160}
"""Parts of the report and the time each may take."""

NETWORKS = ("pwcnet", "liteflownet2")
SIZE = (436, 1024)


def environment() -> dict[str, str]:
    """What the numbers depend on."""
    import torch

    facts = {"python": platform.python_version(), "torch": torch.__version__, "cuda": str(torch.version.cuda)}
    facts["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    cupy = importlib.util.find_spec("cupy")
    facts["cupy"] = __import__("cupy").__version__ if cupy else "missing"
    return facts


def agreement(device_name: str = "cuda") -> list[dict[str, Any]]:
    """Largest difference of each fast operator from its portable version, relative to the largest value."""
    import torch

    from flowzoo.timing.operator_cases import cases

    rows = []
    for case in cases(torch.device(device_name), ["pwc level 6", "pwc level 4", "liteflownet2 level 3"]):
        for backend, call in case.calls.items():
            if backend != "portable":
                error = max(map(_difference, _tensors(call()), _tensors(case.calls["portable"]())))
                rows.append({"operator": case.operator, "shape": case.shape, "error": error})
    return rows


def _tensors(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _difference(found: Any, wanted: Any) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))


def tests() -> dict[str, Any]:
    """The kernel tests with device="cuda"."""
    return _run([sys.executable, "-m", "pytest", "-q", "-m", "cuda", str(TESTS)], "pytest")


def sanitizer() -> dict[str, Any]:
    """One call of every kernel under compute-sanitizer: memory, then races in shared memory."""
    program = "import sys; sys.path.insert(0, 'tools'); import gpu_report; gpu_report.agreement()"
    results = {}
    for tool in ("memcheck", "racecheck"):
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "1", sys.executable, "-c", program]
        results[tool] = _run(command, "compute-sanitizer")
    return results


def _run(command: list[str], needs: str) -> dict[str, Any]:
    if not (importlib.util.find_spec(needs) or shutil.which(needs)):
        return {"status": f"not run: {needs} is not installed"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    tail = (done.stdout + done.stderr).strip().splitlines()[-3:]
    return {"status": "passed" if done.returncode == 0 else "FAILED", "output": " / ".join(tail)}


def operators() -> list[dict[str, Any]]:
    """The table of `flowzoo bench operators`, with the number of kernels each call launches."""
    import torch

    from flowzoo.timing import operators as benchmark
    from flowzoo.timing.operator_cases import SHAPES, cases

    device = torch.device("cuda", torch.cuda.current_device())
    rows = []
    for case in cases(device, list(SHAPES)):
        launches = {name: _launches(call) for name, call in case.calls.items()}
        for row in benchmark.measure(case, device, 0.05):
            rows.append({**dataclasses.asdict(row), "launches": launches[row.backend]})
    return rows


def _launches(call: Any) -> int:
    """Kernels and memory operations that one call starts."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        call()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profiler.events())


def networks() -> list[dict[str, Any]]:
    """Whole networks at batch 1: milliseconds with and without CUDA graphs, peak memory."""
    import torch

    from flowzoo import create

    rows = []
    for name in NETWORKS:
        for precision in ("float32", "bfloat16"):
            network = create(name).cuda()
            images = torch.rand(2, 1, 3, *SIZE, device="cuda")

            def call(network: Any = network, images: Any = images, precision: str = precision) -> Any:
                with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
                    return network(images[0], images[1]).flow

            call()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            call()
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated() - held
            graphed = _graph(call)
            rows.append(
                {
                    "network": name,
                    "precision": precision,
                    "eager_ms": _milliseconds(call),
                    "graph_ms": _milliseconds(graphed),
                    "peak_megabytes": peak / 1e6,
                }
            )
    return rows


def _graph(call: Any) -> Any:
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


def _milliseconds(call: Any) -> float:
    """Best of several rounds of ten calls."""
    import torch

    best = float("inf")
    for _ in range(8):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(10):
            call()
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - begun) * 100)
    return best


def markdown(report: dict[str, Any]) -> str:
    """The report for reading."""
    lines = ["# flowzoo on this GPU", ""]
    lines += [f"- {key}: {value}" for key, value in report["environment"].items()]
    for part in SECONDS:
        lines += ["", f"## {part}", ""]
        result = report[part]
        if isinstance(result, dict) and "failure" in result:
            lines.append(f"FAILED: {result['failure']}")
        elif isinstance(result, list):
            lines += _table(result)
        elif "status" in result:
            lines.append(_status(result))
        else:
            lines += [f"- {name}: {_status(one)}" for name, one in result.items()]
    return "\n".join(lines) + "\n"


def _status(result: dict[str, str]) -> str:
    return result["status"] + (f" ({result['output']})" if result.get("output") else "")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["nothing was measured"]
    cells = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in ([*rows[0]], ["---"] * len(rows[0]), *cells)]


def collect(part: str) -> Any:
    """Run one part in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--part", part]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS[part], check=False, cwd=ROOT, env=settings
        )
    except subprocess.TimeoutExpired:
        return {"failure": f"took more than {SECONDS[part]} s"}
    if done.returncode != 0:
        return {"failure": " / ".join(done.stderr.strip().splitlines()[-3:])}
    return json.loads(done.stdout.splitlines()[-1])


def main(words: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="where to write the two files")
    parser.add_argument("--part", choices=tuple(SECONDS), help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.part:
        print(json.dumps(globals()[arguments.part]()))
        return 0
    sys.path.insert(0, str(ROOT))
    report: dict[str, Any] = {"environment": environment()}
    if report["environment"]["device"] == "none" or report["environment"]["cupy"] == "missing":
        print("gpu_report: needs a CUDA device and CuPy (pip install 'flowzoo[cuda13]' or [cuda12])", file=sys.stderr)
        return 2
    for part in SECONDS:
        print(f"{part} (at most {SECONDS[part]} s) ...", flush=True)
        report[part] = collect(part)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "gpu-report.json").write_text(json.dumps(report, indent=1))
    (arguments.output / "gpu-report.md").write_text(markdown(report))
    print(f"wrote {arguments.output / 'gpu-report.md'} and {arguments.output / 'gpu-report.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
