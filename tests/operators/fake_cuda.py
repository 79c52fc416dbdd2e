"""A CUDA device that is not there: CPU tensors that say they are on it, and a CuPy that writes launches down."""

import contextlib
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from flowzoo.operators import launch

STREAM = 0x5EED


class FakeTensor(torch.Tensor):
    """A CPU tensor whose device reads cuda:0."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", 0)


@dataclass
class FakeCuda:
    """What was asked of the device."""

    loaded: list[str] = field(default_factory=list)  # kernels that were compiled
    launched: list[tuple[Any, ...]] = field(default_factory=list)  # grid, block, arguments, shared bytes, stream
    entered: list[int] = field(default_factory=list)  # devices that were made current
    functions: list[types.SimpleNamespace] = field(default_factory=list)  # of the kernels that were compiled

    def function(self, name: str) -> Any:
        def enqueue(grid: tuple[int, ...], block: tuple[int, ...], arguments: Any, shared: int, stream: Any) -> None:
            self.launched.append((grid, block, arguments, shared, stream.ptr))

        self.loaded.append(name)
        self.functions.append(types.SimpleNamespace(kernel=enqueue, max_dynamic_shared_size_bytes=launch.MOST_SHARED))
        return self.functions[-1]

    @contextlib.contextmanager
    def current(self, device: int) -> Iterator[None]:
        self.entered.append(device)
        yield


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Stands in for the device until the test ends."""
    fake = FakeCuda()
    module = types.SimpleNamespace(get_function=fake.function)
    cupy = types.SimpleNamespace(
        RawModule=lambda **_: module, cuda=types.SimpleNamespace(Device=fake.current, is_available=lambda: True)
    )
    monkeypatch.setattr(launch, "_cupy", lambda: cupy)
    monkeypatch.setattr(torch.cuda, "device", fake.current)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: types.SimpleNamespace(cuda_stream=STREAM))
    launch._function.cache_clear()
    yield fake
    launch._function.cache_clear()
