"""NVRTC without a GPU: compiles a CUDA source and reads the assembler's report on registers and spills."""

import ctypes
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)


@dataclass(frozen=True)
class Usage:
    """What one kernel takes on one architecture."""

    registers: int
    spilled_bytes: int
    stack_bytes: int
    shared_bytes: int


def nvrtc() -> ctypes.CDLL:
    """The library from the wheel nvidia-cuda-nvrtc; the test is skipped where that is not installed."""
    for name in ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"):
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue
        paths = {Path(str(file)).name: Path(str(file.locate())) for file in files}
        builtins = [path for file, path in paths.items() if file.startswith("libnvrtc-builtins.so")]
        main = [path for file, path in paths.items() if re.fullmatch(r"libnvrtc\.so\.\d+", file)]
        if main:
            for path in builtins:
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(main[0]))
    pytest.skip("the wheel nvidia-cuda-nvrtc is not installed")


def nvrtc_of_budgets() -> None:
    """Skips where the compiler is older than the one that registers were counted with: 13.0 takes a few more."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    assert nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)) == 0
    if (major.value, minor.value) < (13, 5):
        pytest.skip(f"registers are counted with NVRTC 13.5, this is {major.value}.{minor.value}")


def compile_source(source: str, defines: dict[str, int], architecture: int) -> dict[str, Usage]:
    """Compile to machine code; kernel name -> what it takes."""
    library = nvrtc()
    options = [
        f"--gpu-architecture=sm_{architecture}",
        "-std=c++17",
        "--ptxas-options=-v",
        *(f"-D{name}={value}" for name, value in defines.items()),
    ]
    program = ctypes.c_void_p()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None) == 0
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    try:
        status = library.nvrtcCompileProgram(program, len(options), array)
        size = ctypes.c_size_t()
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, log)
        text = log.value.decode(errors="replace")
        assert status == 0, f"sm_{architecture} {defines}: {text}"
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    return parse_report(text)


def parse_report(log: str) -> dict[str, Usage]:
    """ptxas -v output -> usage of each kernel."""
    report = {}
    for block in log.split("Compiling entry function")[1:]:
        name = re.search(r"'(\w+)'", block)
        stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", block)
        registers = re.search(r"Used (\d+) registers", block)
        assert name, block
        assert stack, block
        assert registers, block
        shared = re.search(r"(\d+) bytes smem", block)
        report[name[1]] = Usage(
            int(registers[1]),
            int(stack[2]) + int(stack[3]),
            int(stack[1]),
            int(shared[1]) if shared else 0,
        )
    return report
