"""Launches as CuPy gets them: on torch's stream, without changing the device or making streams, and with few calls."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from fake_cuda import STREAM, FakeCuda, FakeTensor, fake_cuda

from flowzoo.operators import launch
from flowzoo.operators.launch import Launch

__all__ = ["fake_cuda"]


def some_launch(blocks: int = 3) -> Launch:
    tensor = torch.ones(4).as_subclass(FakeTensor)
    return Launch("splat.cu", (("STORAGE", 0),), "splat", blocks, (256, 1), (tensor, None, np.int64(7)), 16)


def test_what_cupy_gets(fake_cuda: FakeCuda) -> None:
    start = some_launch()
    launch.start(start)
    ((grid, block, arguments, shared, stream),) = fake_cuda.launched
    assert (grid, block, shared, stream) == ((3,), (256, 1), 16, STREAM)
    assert arguments == (start.arguments[0].data_ptr(), 0, 7, 0)  # the last is the number of the first block
    assert [type(argument) for argument in arguments] == [np.uintp, np.uintp, np.int64, np.int64]


def test_a_kernel_is_loaded_once_and_then_only_launched(fake_cuda: FakeCuda) -> None:
    for _ in range(3):
        launch.start(some_launch())
    assert fake_cuda.loaded == ["splat"]
    assert len(fake_cuda.launched) == 3
    assert len(fake_cuda.entered) == 2  # for loading: torch's and CuPy's device


def test_much_shared_memory_is_asked_for_once(fake_cuda: FakeCuda) -> None:
    start = some_launch()
    for amount in (launch.MOST_SHARED, 53828, 53828):
        launch.start(dataclasses.replace(start, shared_bytes=amount))
    assert [function.max_dynamic_shared_size_bytes for function in fake_cuda.functions] == [launch.MOST_SHARED, 53828]
    assert [entry[3] for entry in fake_cuda.launched] == [launch.MOST_SHARED, 53828, 53828]


def test_another_device_is_made_current_and_left(fake_cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    launch.start(some_launch())
    assert fake_cuda.entered == [0, 0, 0, 0]
    assert len(fake_cuda.launched) == 1


def test_a_long_launch_is_split(fake_cuda: FakeCuda) -> None:
    launch.start(some_launch(2**31 + 4))
    assert [(entry[0], entry[2][-1]) for entry in fake_cuda.launched] == [((2**31 - 1,), 0), ((5,), 2**31 - 1)]


def test_the_host_has_little_to_do(fake_cuda: FakeCuda) -> None:
    """Our part of a launch, in calls of functions: a stream or a device made current would be dozens more."""
    start = some_launch()
    launch.start(start)
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event.endswith("call") else None)
    try:
        launch.start(start)
    finally:
        sys.setprofile(None)
    assert len(fake_cuda.launched) == 2
    assert len(calls) < 60
