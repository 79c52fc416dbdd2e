"""Reference volumes and gradients, computed elsewhere by explicit loops and checked by differences."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_host import HostLauncher
from torch import Tensor

from flowzoo import operators
from flowzoo.operators import launch
from flowzoo.operators.correlation import cuda as correlation_cuda
from flowzoo.operators.correlation import definition as correlation_definition
from flowzoo.operators.sampled_volume import cuda as sampled_cuda
from flowzoo.operators.sampled_volume import definition as sampled_definition

NAMES = [
    f"{stride}{kind}_r2d{dilation}"
    for kind in ("warp_corr", "sample_corr", "sample_sad", "local_corr")
    for dilation in (1, 2)
    for stride in ("", "stride2_")
    if not (stride and kind.startswith("sample"))
]
BACKENDS = ["native", "portable", "double", "cuda-on-host"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which implementation stands behind `flowzoo.operators` on the CPU."""
    monkeypatch.setenv("FLOWZOO_NATIVE", "1" if request.param == "native" else "0")
    if request.param == "cuda-on-host":
        launcher = HostLauncher()
        monkeypatch.setattr(launch, "start", launcher)
        # Registered CPU functions fall back to these portable names when the native kernels are off.
        for name in ("correlate", "gather", "scatter"):
            monkeypatch.setattr(correlation_definition, name, _guarded(correlation_cuda, name))
        for name in ("sampled_volume", "sampled_volume_backward"):
            monkeypatch.setattr(sampled_definition, name, _guarded(sampled_cuda, name))
    yield request.param
    if request.param == "cuda-on-host":
        assert launcher.launched


def _guarded(module: object, name: str):  # type: ignore[no-untyped-def]
    operator = getattr(module, name)

    def call(*arguments: object) -> object:
        assert arguments[0].dtype == torch.float32, "the CUDA path must not fall back here"  # type: ignore[attr-defined]
        return operator(*arguments)

    return call


@pytest.mark.parametrize("name", NAMES)
def test_volumes_and_gradients(name: str, backend: str, shared: Path) -> None:
    reference = np.load(shared / "parity" / "cost-volumes.npz")
    dtype, tolerance = (torch.float64, 1e-10) if backend == "double" else (torch.float32, 1e-5)
    stride, dilation = (2 if name.startswith("stride2") else 1), int(name[-1])
    first, second, flow = (torch.tensor(reference[key]).to(dtype).requires_grad_() for key in ("f1", "f2", "flow"))
    incoming = torch.tensor(reference[f"g_r2d{dilation}" + ("_stride2" if stride == 2 else "")]).to(dtype)
    if "sample" in name:
        measure = "sad" if "sad" in name else "correlation"
        volume = operators.sampled_cost_volume(first, second, flow, 2, dilation, stride, measure)
    else:
        target = operators.warp(second, flow) if "warp" in name else second
        volume = operators.correlation(first, target, 2, dilation, stride)
    volume = volume * first.shape[1]  # the reference sums over channels
    gradients = torch.autograd.grad(volume, (first, second, flow), incoming, allow_unused=True)
    assert _relative(volume, reference[name]) <= tolerance
    for gradient, suffix in zip(gradients, ("_df1", "_df2", "_dflow"), strict=True):
        if name + suffix in reference.files:
            assert _relative(gradient, reference[name + suffix]) <= tolerance, suffix


def _relative(found: Tensor, wanted: np.ndarray) -> float:
    return float(np.abs(found.detach().double().numpy() - wanted).max() / np.abs(wanted).max())
