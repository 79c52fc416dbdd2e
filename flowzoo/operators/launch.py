"""Starting CUDA kernels: what a launch is, and how CuPy carries it out.

Every kernel call is first written down as a `Launch`; `start` hands it to CuPy. Sizes are kernel arguments, so a source
is compiled once for a storage type and a group of displacements, whatever the images.
"""

import functools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from flowzoo.assets import asset_path

MOST_BLOCKS = 2**31 - 1
"""Blocks of one launch (CUDA's limit for grid.x)."""

MOST_SHARED = 48 * 1024
"""Bytes of shared memory that every CUDA device gives a block without asking."""

STORAGE = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
"""The kernels' number for each storage type."""

Argument = Tensor | np.int64 | np.int32 | np.float32 | None


@dataclass(frozen=True)
class Launch:
    """One kernel call. The number of its launch's first block follows the arguments, so `blocks` has no limit."""

    source: str  # file in kernels/
    defines: tuple[tuple[str, int], ...]
    kernel: str
    blocks: int
    threads: tuple[int, int]
    arguments: tuple[Argument, ...]  # tensors go as addresses, None as a null pointer
    shared_bytes: int = 0

    def parts(self) -> list[tuple[int, int]]:
        """(first block, number of blocks) of the launches it takes."""
        return [(first, min(MOST_BLOCKS, self.blocks - first)) for first in range(0, self.blocks, MOST_BLOCKS)]


@functools.cache
def source_text(name: str) -> str:
    """A CUDA source with its own headers put in: compilers' caches then see every change."""
    text = asset_path("kernels", name).read_text()
    return re.sub(r'^#include "(\w+\.cuh)"$', lambda found: source_text(found[1]), text, flags=re.MULTILINE)


@functools.cache
def _cupy() -> Any:
    """CuPy, or None (with one warning) where it is missing or sees no device."""
    try:
        import cupy
    except ImportError as error:
        reason = f"CuPy cannot be imported ({error})"
    else:
        if cupy.cuda.is_available():
            return cupy
        reason = "CuPy finds no CUDA device"
    extra = "cuda13" if (torch.version.cuda or "").startswith("13") else "cuda12"
    warnings.warn(
        f"{reason}: CUDA operators run in their slower portable form; pip install 'flowzoo[{extra}]'", stacklevel=2
    )
    return None


def available() -> bool:
    """Whether CUDA tensors can be given to the kernels."""
    return _cupy() is not None


@functools.cache
def most_shared(device: torch.device) -> int:
    """Bytes of shared memory that a block of a CUDA device gets if it asks; those of an H100 where there is none."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return 227 * 1024
    properties = torch.cuda.get_device_properties(device)
    return int(getattr(properties, "shared_memory_per_block_optin", MOST_SHARED))


@functools.cache
def processors(device: torch.device) -> int:
    """Multiprocessors of a CUDA device; those of an H100 where the kernels are only emulated."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return 132
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


class _Stream(NamedTuple):
    """What CuPy asks of a stream: its address."""

    ptr: int


@functools.cache
def _function(device: int, source: str, defines: tuple[tuple[str, int], ...], kernel: str, asked: int) -> Any:
    """The compiled kernel, loaded on a device, with leave for `asked` bytes of shared memory where that is not 0.

    CuPy keeps the binary on disk.
    """
    cupy = _cupy()
    options = ("-std=c++17", *(f"-D{name}={value}" for name, value in defines))
    with torch.cuda.device(device), cupy.cuda.Device(device):
        function = cupy.RawModule(code=source_text(source), options=options).get_function(kernel)
        if asked:
            function.max_dynamic_shared_size_bytes = asked
        return function.kernel


def _start_on_device(launch: Launch) -> None:
    """Run on the tensors' device and torch's current stream there.

    The stream goes to CuPy by its address, so none of its own has to be made or made current, and the device is changed
    only where it is not the current one: both would cost more than the launch itself.
    """
    device = next(argument.device.index for argument in launch.arguments if isinstance(argument, Tensor))
    asked = launch.shared_bytes if launch.shared_bytes > MOST_SHARED else 0
    function = _function(device, launch.source, launch.defines, launch.kernel, asked)
    stream = _Stream(torch.cuda.current_stream(device).cuda_stream)
    arguments = tuple(_value(argument) for argument in launch.arguments)
    if device == torch.cuda.current_device():
        _enqueue(function, launch, arguments, stream)
    else:
        with torch.cuda.device(device), _cupy().cuda.Device(device):
            _enqueue(function, launch, arguments, stream)


def _enqueue(function: Any, launch: Launch, arguments: tuple[Any, ...], stream: _Stream) -> None:
    for first, blocks in launch.parts():
        function((blocks,), launch.threads, (*arguments, np.int64(first)), launch.shared_bytes, stream)


def _value(argument: Argument) -> Any:
    if argument is None:
        return np.uintp(0)
    return np.uintp(argument.data_ptr()) if isinstance(argument, Tensor) else argument


start: Callable[[Launch], None] = _start_on_device
"""Carries a launch out. The tests put a host emulation here."""


def fixed_point(bound: Tensor) -> tuple[Tensor, Tensor]:
    """A power of two that keeps sums of size up to `bound` inside 64 bits, and `bound` where it is not finite, else 0.

    Integer sums have no order, so kernels that add to shared places are deterministic with them. Both results are
    float64 scalars on the device; nothing waits for them.
    """
    exponent = (60 - bound.clamp(min=1e-30, max=1e300).log2()).floor()
    return torch.exp2(exponent), torch.where(torch.isfinite(bound), 0.0, torch.nan)


def numbers(*values: int) -> tuple[np.int64, ...]:
    """Whole-number kernel arguments."""
    return tuple(np.int64(value) for value in values)
