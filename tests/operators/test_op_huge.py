"""More than 2^31 elements: places in memory are 64-bit numbers in every backend.

Memory that is never touched costs nothing, so only the last corner of a huge problem is computed.
"""

import numpy as np
import pytest
import torch
from kernel_host import HostLauncher
from torch import Tensor

from flowzoo.operators import launch, native, native_call
from flowzoo.operators.correlation import cuda as correlation_cuda
from flowzoo.operators.launch import Launch
from flowzoo.operators.native_call import Memory, reads
from flowzoo.operators.sampled_volume import cuda as sampled_cuda

SIDE = 16384
"""9 displacements of a map this large are 2.4e9 numbers."""

MANY = 1 << 20
"""Threads asked for: the more, the shorter a task; a single task starts none."""


def lazily(*shape: int) -> Tensor:
    """Zeros that take no memory before they are touched; skips where even the addresses are refused."""
    try:
        return torch.from_numpy(np.zeros(shape, np.float32))  # calloc; torch.zeros would write them all
    except MemoryError:
        pytest.skip(f"this machine does not hand out {torch.Size(shape).numel() * 4 >> 30} GiB of addresses")


@pytest.fixture(scope="module")
def maps() -> Tensor:
    """Zero but for the last 3x3 pixels, 1..9."""
    values = lazily(1, 1, SIDE, SIDE)
    values[..., -3:, -3:] = torch.arange(1.0, 10.0).view(3, 3)
    return values


def last_corner(volume: Tensor) -> None:
    """Costs of the last pixel (9) with its neighbours 5, 6, 8, 9, the others being outside."""
    assert volume[0, :, -1, -1].tolist() == [45.0, 54.0, 0.0, 72.0, 81.0, 0.0, 0.0, 0.0, 0.0]


def test_native(maps: Tensor) -> None:
    if native.library() is None:
        pytest.skip("no C++ compiler to build the CPU kernels with")
    volume = lazily(1, 9, SIDE, SIDE)
    assert volume.numel() > 2**31
    sizes = (1, 1, SIDE, SIDE, 1, 1)
    given = reads("maps", maps, maps.shape)
    assert native_call.run("correlate", given, given, Memory(volume), *sizes, 1.0, 1, threads=MANY)
    last_corner(volume)
    volume[0, 4, -1, -1] = 2.0
    volume[0, 0, -1, -1] = 0.0
    result = lazily(1, 1, SIDE, SIDE)
    assert native_call.run("gather", Memory(volume), given, Memory(result), *sizes, 1.0, False, 1, threads=MANY)
    assert result[0, 0, -1, -1] == 54.0 * 6 + 72.0 * 8 + 2.0 * 9


def test_cuda_correlation(maps: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "start", HostLauncher(last_blocks=1))
    lazily(1, 9, SIDE, SIDE)
    last_corner(correlation_cuda.correlate(maps, maps, 1, 1, 1.0))


def test_cuda_sampled_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels last and four of them, all the same, which the kernels read where they lie."""
    monkeypatch.setattr(launch, "start", HostLauncher(last_blocks=1))
    maps = lazily(1, SIDE, SIDE, 4).permute(0, 3, 1, 2)
    maps[..., -3:, -3:] = torch.arange(1.0, 10.0).view(3, 3)
    lazily(1, 9, SIDE, SIDE)
    flow = lazily(1, 2, SIDE, SIDE)
    last_corner(sampled_cuda.sampled_volume(maps, maps, flow, 1, 1, 1, False))


def test_a_launch_beyond_the_limit_of_blocks_is_split() -> None:
    start = Launch("splat.cu", (), "splat", 2**32 + 5, (256, 1), ())
    assert start.parts() == [(0, 2**31 - 1), (2**31 - 1, 2**31 - 1), (2**32 - 2, 7)]
    assert Launch("splat.cu", (), "splat", 3, (256, 1), ()).parts() == [(0, 3)]


def test_sides_beyond_32_bits_have_no_kernel() -> None:
    """They are left to the portable operator, which counts in 64 bits."""
    endless = torch.empty(1, 1, 1, 1).expand(1, 1, 1, 2**31)
    assert not correlation_cuda._fits(endless, 4, 1)
    assert not sampled_cuda._Problem(endless[..., :4], endless, (4, 1, 1, 0)).fits("sampled_correlation")
