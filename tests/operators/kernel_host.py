"""CUDA sources executed on the host: builds them against host/cuda_on_host.h and carries out `Launch` objects."""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from flowzoo.operators.launch import Argument, Launch, source_text

SHIM = Path(__file__).parent / "host" / "cuda_on_host.h"
FORWARD, REVERSED, SHUFFLED = 0, 1, 2


@cache
def build_folder() -> Path:
    """One folder a test run."""
    folder = tempfile.TemporaryDirectory(prefix="flowzoo-host-kernels-")
    build_folder.keep = folder  # type: ignore[attr-defined]
    return Path(folder.name)


def compiler() -> str:
    """A C++ compiler; the test is skipped where there is none."""
    found = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("g++") or shutil.which("c++")
    if not found:
        pytest.skip("no C++ compiler to run the CUDA sources on the host")
    return found


def kernel_names(source: str) -> list[str]:
    """Kernels a source defines."""
    return re.findall(r"extern \"C\" __global__ void __launch_bounds__\([^\n]*\)\s+(\w+)\(", source)


def build(source: str, defines: tuple[tuple[str, int], ...], *, name: str, options: tuple[str, ...] = ()) -> Path:
    """Compile a source's text for the host; returns the shared library, or with -DMAIN a program."""
    text = f'#include "{SHIM}"\n{source}\n' + "".join(f"LAUNCHER({kernel})\n" for kernel in kernel_names(source))
    stem = name + "".join(f"-{key}{value}" for key, value in defines)
    unit, target = build_folder() / f"{stem}.cpp", build_folder() / f"{stem}.so"
    unit.write_text(text)
    command = [
        compiler(),
        "-std=c++17",
        "-O1",
        "-w",
        "-fvisibility=hidden",
        "-fno-gnu-unique",
        "-fPIC",
        "-shared",
        *(f"-D{key}={value}" for key, value in defines),
        *options,
        str(unit),
        "-o",
        str(target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    return target


@cache
def library(source: str, defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
    """The host build of a file in kernels/."""
    return ctypes.CDLL(str(build(source_text(source), defines, name=source.replace(".", "_"))))


class HostLauncher:
    """Stands in for CuPy: `launch.start = HostLauncher()`.

    Args:
        order: FORWARD, REVERSED or SHUFFLED order of a block's threads.
        libraries: (source, defines) -> library; the unchanged sources unless a test mutates them.
        last_blocks: run only so many blocks at the end of every launch.
    """

    def __init__(self, order: int = FORWARD, libraries=library, last_blocks: int | None = None) -> None:
        self.order, self.libraries, self.last_blocks = order, libraries, last_blocks
        self.launched: list[Launch] = []

    def __call__(self, launch: Launch) -> None:
        self.launched.append(launch)
        assert all(blocks <= 2**31 - 1 for _, blocks in launch.parts())
        entry = self.libraries(launch.source, launch.defines)[f"launch_{launch.kernel}"]
        entry.restype = ctypes.c_char_p
        count = launch.blocks if self.last_blocks is None else self.last_blocks
        first = launch.blocks - count
        values = [c_value(argument) for argument in (*launch.arguments, np.int64(first))]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        problem = entry(
            addresses,
            ctypes.c_int64(0),
            ctypes.c_int64(count),
            *launch.threads,
            ctypes.c_int64(launch.shared_bytes),
            self.order,
            ctypes.c_uint32(1234567),
        )
        if problem:
            raise RuntimeError(problem.decode())


def c_value(argument: Argument) -> ctypes._SimpleCData:
    """A kernel argument as a C object."""
    if argument is None:
        return ctypes.c_void_p(0)
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    kinds = {np.int64: ctypes.c_int64, np.int32: ctypes.c_int32, np.float32: ctypes.c_float}
    return kinds[type(argument)](argument)
