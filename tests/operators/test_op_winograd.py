"""Winograd's kernel where vectors and panels are partly empty, in builds for several processors, against float64."""

import ctypes
import platform
import subprocess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from kernel_host import build_folder, compiler

from flowzoo.assets import asset_folder
from flowzoo.operators import native
from flowzoo.operators.convolution import cpu

pytestmark = pytest.mark.skipif(native.library() is None, reason="no C++ compiler")

# Fewer channels and outputs than a vector has numbers of any processor, just as many, one more; panels of one and two
# vectors, and chunks of channels or outputs with panels of both sorts.
COUNTS = [(5, 3), (17, 1), (33, 7), (40, 16), (24, 24), (16, 33), (70, 48), (41, 80), (131, 80), (80, 131), (20, 65)]


def drawn(channels, outputs, height=13, width=22, batch=2):
    generator = torch.Generator().manual_seed(channels + outputs)
    maps = torch.randn(batch, channels, height, width, generator=generator).contiguous(
        memory_format=torch.channels_last
    )
    weight = torch.randn(outputs, channels, 3, 3, generator=generator)
    gradient = torch.randn(batch, outputs, height, width, generator=generator)
    bias = torch.randn(outputs, generator=generator)
    return maps, weight, bias, gradient.contiguous(memory_format=torch.channels_last)


def check_against_float64(channels, outputs, dilation):
    """Result and gradients of one convolution."""
    maps, weight, bias, gradient = drawn(channels, outputs)
    exact = [maps.double().requires_grad_(), weight.double().requires_grad_()]
    result = F.conv2d(*exact, bias.double(), padding=dilation, dilation=dilation)
    wanted = [result.detach(), *torch.autograd.grad(result, exact, gradient.double())]
    found = (
        cpu.convolution(maps, weight, bias, dilation, 1.0),
        cpu.maps_gradient(gradient, weight, dilation),
        cpu.weight_gradient(maps, gradient, dilation),
    )
    for part, whole in zip(found, wanted, strict=True):
        torch.testing.assert_close(part.double(), whole, rtol=0, atol=5e-6 * whole.abs().max().item())


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_values_and_gradients_of_any_number_of_channels(counts, dilation):
    check_against_float64(*counts, dilation)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_an_output_has_the_same_bits_however_many_others_there_are(half):
    maps, weight, bias, _ = drawn(70, 97)
    maps = maps.bfloat16() if half else maps
    whole = cpu.convolution(maps, weight, bias, 1, 0.1)
    for outputs in range(1, 97):
        wide = torch.full((2, 13, 22, outputs + 3), 7.0, dtype=maps.dtype).permute(0, 3, 1, 2)
        into = wide[:, 1:-2]
        cpu.convolution(maps, weight[:outputs], bias[:outputs], 1, 0.1, into=into)
        assert torch.equal(into, whole[:, :outputs])
        assert (wide[:, :1] == 7).all()
        assert (wide[:, -2:] == 7).all()


@pytest.mark.parametrize("channels", [1, 15, 16, 17, 32, 33, 48, 49, 81])
def test_a_channels_gradient_to_weights_has_the_same_bits_however_many_others_there_are(channels):
    maps, _, _, gradient = drawn(97, 20)
    some = maps[:, :channels].contiguous(memory_format=torch.channels_last)
    whole = cpu.weight_gradient(maps, gradient, 1)
    assert torch.equal(cpu.weight_gradient(some, gradient, 1), whole[:, :channels])


def built_for(processor: str) -> Path:
    """Winograd's kernel with vectors of 8 or 4 numbers."""
    target = build_folder() / f"winograd-{processor}.so"
    folder = asset_folder("kernels")
    sources = [str(path) for path in (*sorted(folder.glob("winograd*.cpp")), folder / "threads.cpp")]
    options = ("-std=c++17", "-O1", "-fno-math-errno", "-shared", "-fPIC", f"-march={processor}", "-pthread")
    done = subprocess.run(
        [compiler(), *options, *sources, "-o", str(target)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.skipif(platform.machine() != "x86_64", reason="another kind of processor")
@pytest.mark.parametrize("processor", ["x86-64-v3", "x86-64"])
def test_processors_with_narrower_vectors_count_alike(processor, monkeypatch):
    if processor == "x86-64-v3" and "avx2" not in native.processor_features():
        pytest.skip("this processor has no AVX2")
    library = ctypes.CDLL(str(built_for(processor)))
    monkeypatch.setattr(native, "library", lambda: library)
    for channels, outputs in COUNTS:
        for dilation in (1, 3):
            check_against_float64(channels, outputs, dilation)
