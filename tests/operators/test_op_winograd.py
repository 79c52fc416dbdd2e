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
from flowzoo.operators import native, native_call
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


@pytest.fixture
def sides(monkeypatch):
    """Sets the side of the tiles."""
    return lambda side: monkeypatch.setattr(cpu, "tile_side", lambda *arguments: side)


def check_large_tiles(channels, outputs, dilation, height=13, width=22):
    """Result of one convolution by tiles of 6x6 pixels, which is off by some 1e-5 of the largest value."""
    maps, weight, bias, _ = drawn(channels, outputs, height, width)
    wanted = F.conv2d(maps.double(), weight.double(), bias.double(), padding=dilation, dilation=dilation)
    found = cpu.convolution(maps, weight, bias, dilation, 1.0)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=3e-5 * wanted.abs().max().item())


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


@pytest.mark.parametrize("size", [(13, 22), (1, 1), (6, 18), (24, 43)])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_values_by_large_tiles(counts, dilation, size, sides):
    sides(6)
    check_large_tiles(*counts, dilation, *size)


def test_large_tiles_are_taken_where_bfloat16_maps_have_many():
    half, whole = torch.bfloat16, torch.float32
    for size, dilation, side in (
        ((112, 256), 1, 6),
        ((56, 128), 1, 6),
        ((112, 256), 4, 6),
        ((28, 64), 1, 4),
        ((400, 7), 1, 4),  # of two tiles' columns one is mostly empty
    ):
        assert [cpu.tile_side(size, dilation, *types) for types in ((half, half), (whole, half))] == [side, side]
        assert cpu.tile_side(size, dilation, whole, whole) == 4


@pytest.mark.parametrize("size", [(86, 87), (13, 22)], ids=["tiles of 6x6", "tiles of 4x4"])
def test_threads_batch_and_layout_change_no_bit_of_bfloat16(size, monkeypatch):
    maps, weight, bias, _ = drawn(70, 65, *size, batch=3)
    maps = maps.bfloat16()
    wide = torch.full((3, *size, 90), torch.nan, dtype=torch.bfloat16).permute(0, 3, 1, 2)
    wide[:, 7:77] = maps
    assert cpu.tile_side(size, 1, torch.bfloat16) == (6 if size[0] == 86 else 4)
    found = []
    for threads in (1, 2, 5, 40):
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        found.append(cpu.convolution(wide[:, 7:77], weight, bias, 1, 0.1))
        found.append(torch.cat([cpu.convolution(each[None], weight, bias, 1, 0.1) for each in maps]))
        both = maps[:, :64].contiguous(memory_format=torch.channels_last), wide[:, 71:77]
        found.append(cpu.convolution_of_two(*both, weight, bias, 1, 0.1))
    assert all(torch.equal(found[0], other) for other in found[1:])
    exact = F.conv2d(maps.double(), weight.double(), bias.double(), padding=1)
    exact = torch.where(exact > 0, exact, 0.1 * exact)
    limit = 3e-5 * exact.abs().max() + 2**-8 * exact.abs()
    assert ((found[0].double() - exact).abs() <= limit).all()


@pytest.mark.parametrize("side", [4, 6])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_an_output_has_the_same_bits_however_many_others_there_are(half, side, sides):
    sides(side)
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


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("height", [13, 24, 60])
def test_gradients_to_weights_of_many_tiles_do_not_depend_on_the_threads(height, half, monkeypatch):
    maps, _, _, gradient = drawn(70, 33, height, 43)
    if half:
        maps, gradient = maps.bfloat16(), gradient.bfloat16()
    wide = torch.full((2, 80, height, 43), 7.0, dtype=maps.dtype).contiguous(memory_format=torch.channels_last)
    wide[:, 5:75] = maps
    exact = torch.zeros(33, 70, 3, 3, dtype=torch.float64).requires_grad_()
    (wanted,) = torch.autograd.grad(F.conv2d(maps.double(), exact, padding=1), exact, gradient.double())
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        found += [cpu.weight_gradient(each, gradient, 1) for each in (maps, wide[:, 5:75])]
    assert all(torch.equal(found[0], other) for other in found[1:])
    torch.testing.assert_close(found[0].double(), wanted, rtol=0, atol=5e-6 * wanted.abs().max().item())


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
def test_processors_with_narrower_vectors_count_alike(processor, monkeypatch, sides):
    if processor == "x86-64-v3" and "avx2" not in native.processor_features():
        pytest.skip("this processor has no AVX2")
    library = ctypes.CDLL(str(built_for(processor)))
    monkeypatch.setattr(native, "library", lambda: library)
    for channels, outputs in COUNTS:
        for dilation in (1, 3):
            check_against_float64(channels, outputs, dilation)
    sides(6)
    for channels, outputs in COUNTS:
        for dilation in (1, 3):
            check_large_tiles(channels, outputs, dilation)
