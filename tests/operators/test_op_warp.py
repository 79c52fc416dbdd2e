"""Backward warping: against pixels read one by one in float64, by the kernel and by its definition."""

import math

import pytest
import torch

from flowzoo.operators import native, native_call, warp
from flowzoo.operators.warp import cpu, definition

SHAPES = [(2, 16, 9, 7), (1, 37, 5, 11), (1, 33, 1, 1), (1, 48, 1, 6), (2, 19, 6, 1)]
LAYOUTS = torch.contiguous_format, torch.channels_last
needs_kernels = pytest.mark.skipif(native.library() is None, reason="there are no CPU kernels here")


def drawn(shape):
    """Features and flow, some of which leads outside or is no number."""
    batch, _, height, width = shape
    generator = torch.Generator().manual_seed(height * width)
    features = torch.randn(shape, generator=generator)
    flow = 3 * torch.randn(batch, 2, height, width, generator=generator)
    flow[0, :, 0, 0] = torch.tensor([-0.25, 0.5])
    if height * width > 4:
        flow[:, 0].view(batch, -1)[:, 1:4] = torch.tensor([math.nan, math.inf, -1e30])
    return features, flow


def read(features, flow):
    """Every pixel by itself, in float64."""
    batch, channels, height, width = features.shape
    result = torch.zeros(batch, channels, height, width, dtype=torch.float64)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                u, v = flow[b, :, y, x].tolist()
                if not (math.isfinite(u) and math.isfinite(v)):
                    continue
                left, top = math.floor(x + u), math.floor(y + v)
                for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                    if 0 <= row < height and 0 <= column < width:
                        weight = (1 - abs(y + v - row)) * (1 - abs(x + u - column))
                        result[b, :, y, x] += weight * features[b, :, row, column].double()
    return result


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pixel_is_read_where_its_flow_leads(shape, monkeypatch):
    features, flow = drawn(shape)
    wanted = read(features, flow)
    found = [definition.warp(features, flow)]
    for threads in (1, 3) if native.library() is not None else ():
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        found += [cpu.warp(features.contiguous(memory_format=layout), flow) for layout in LAYOUTS]
    for each in found:
        torch.testing.assert_close(each.double(), wanted, rtol=0, atol=1e-5)
    for one, three in zip(found[1:3], found[3:], strict=True):
        assert torch.equal(one, three)


@needs_kernels
def test_the_kernel_keeps_layout_and_type_and_sees_no_other_channels():
    features, flow = drawn((2, 40, 9, 14))
    last = features.contiguous(memory_format=torch.channels_last)
    assert cpu.warp(features, flow).is_contiguous()
    assert cpu.warp(last, flow).is_contiguous(memory_format=torch.channels_last)
    wide = torch.full((2, 60, 9, 14), math.nan).contiguous(memory_format=torch.channels_last)
    wide[:, 7:47] = features
    assert torch.equal(cpu.warp(wide[:, 7:47], flow), cpu.warp(last, flow))
    half = cpu.warp(last.bfloat16(), flow)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), read(features.bfloat16(), flow), rtol=2**-8, atol=1e-5)


@needs_kernels
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_what_flow_does_not_lead_to_is_not_read(layout):
    features, flow = drawn((1, 17, 6, 8))
    features[0, :, 0, 0] = math.nan  # nearest to all places that are outside to the left and above
    flow[0, 0], flow[0, 1] = torch.arange(8.0) % 3 - 12, -9.0
    assert torch.equal(cpu.warp(features.contiguous(memory_format=layout), flow), torch.zeros_like(features))


@needs_kernels
def test_what_there_is_no_kernel_for_is_pytorchs():
    features, flow = drawn(SHAPES[0])
    half = features.bfloat16()
    for given in (features.double(), features.half(), half, features[:, :15], features.requires_grad_()):
        assert cpu.warp(given, flow) is None
    warp(features, flow).sum().backward()
    wanted = torch.autograd.grad(read(features, flow).sum(), features)[0]
    torch.testing.assert_close(features.grad, wanted.to(features.grad), rtol=0, atol=1e-5)
    with torch.no_grad():
        assert cpu.warp(features, flow) is not None
