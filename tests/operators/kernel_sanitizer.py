"""Recorded launches run under the address and undefined-behaviour sanitizers, in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_host import build, build_folder, compiler

from flowzoo.operators.launch import Argument, Launch, source_text

OPTIONS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
RUNNER = Path(__file__).parent / "host" / "run_sanitized.py"


def sanitizer_runtime() -> str:
    """The library to preload; the test is skipped where the compiler has none."""
    done = subprocess.run([compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    path = done.stdout.strip()
    if not os.path.isabs(path):
        pytest.skip("the compiler comes without the address sanitizer")
    return path


def _argument(argument: Argument) -> dict[str, object]:
    if argument is None:
        return {"kind": "c_void_p", "value": 0}
    if isinstance(argument, torch.Tensor):
        data = argument.contiguous().flatten().view(torch.uint8).numpy()
        return {"kind": "buffer", "value": data.tobytes().hex()}
    kinds = {np.int64: "c_int64", np.int32: "c_int32", np.float32: "c_float"}
    return {"kind": kinds[type(argument)], "value": argument.item()}


class Recorder:
    """Stands in for CuPy and only writes launches down."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, tuple[tuple[str, int], ...]], list[dict[str, object]]] = {}

    def __call__(self, launch: Launch) -> None:
        job = {
            "kernel": launch.kernel,
            "blocks": launch.blocks,
            "threads": launch.threads,
            "shared_bytes": launch.shared_bytes,
            "arguments": [*(_argument(a) for a in launch.arguments), {"kind": "c_int64", "value": 0}],
        }
        self.jobs.setdefault((launch.source, launch.defines), []).append(job)


def run(
    jobs: list[dict[str, object]],
    source: str,
    defines: tuple[tuple[str, int], ...],
    *,
    name: str = "clean",
    replaced: tuple[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Build `source` with sanitizers (with one piece of its text `replaced`) and carry `jobs` out."""
    preload = sanitizer_runtime()
    text = source_text(source)
    if replaced:
        assert text.count(replaced[0]) == 1, f"{replaced[0]!r} must occur once in {source}"
        text = text.replace(*replaced)
    path = build(text, defines, name=f"sanitized-{name}-{source.replace('.', '_')}", options=OPTIONS)
    listing = build_folder() / f"{path.stem}.json"
    listing.write_text(json.dumps(jobs))
    settings = {"LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0"}
    return subprocess.run(
        [sys.executable, "-S", str(RUNNER), str(path), str(listing)],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
        env={**os.environ, **settings},
    )
