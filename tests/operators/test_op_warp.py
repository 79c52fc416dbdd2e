"""Backward warping: against pixels read one by one in float64, by the kernel and by its definition."""

import math
import re

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
    for given in (features.double(), features.half(), features.bfloat16(), features[:, :15]):
        assert cpu.warp(given, flow) is None
        assert cpu.gradients(given, flow, given, (True, True)) is None
        assert warp(given, flow).dtype == given.dtype


STEP = 0.05


def within_cells(flow):
    """Flow that leads nowhere nearer than `STEP` to a whole coordinate, where the slope is another on each side."""
    return torch.where(flow.isfinite(), flow.floor() + 0.1 + 0.8 * (flow - flow.floor()), flow)


def slopes(features, flow, gradient):
    """The gradients in float64: each pixel is linear in the features it reads, and in x and y of its flow."""
    exact = features.double().requires_grad_()
    (to_features,) = torch.autograd.grad((read(exact, flow) * gradient.double()).sum(), exact)
    to_flow = []
    for axis in range(2):
        step = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
        step[:, axis] = STEP
        ahead, behind = (read(features, flow.double() + sign * step) for sign in (1, -1))
        to_flow.append(((ahead - behind) / (2 * STEP) * gradient.double()).sum(1))
    return to_features, torch.stack(to_flow, dim=1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_slopes_between_pixels(shape, monkeypatch):
    features, flow = drawn(shape)
    flow = within_cells(flow)
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    wanted = slopes(features, flow, gradient)
    inputs = features.requires_grad_(), flow.requires_grad_()
    found = [torch.autograd.grad(definition.warp(*inputs), inputs, gradient)]
    for threads in (1, 3) if native.library() is not None else ():
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        for layout in LAYOUTS:
            given = features.detach().contiguous(memory_format=layout), flow.detach(), gradient
            found.append(cpu.gradients(*given, (True, True)))
            assert found[-1][0].is_contiguous(memory_format=layout)
            assert [each is None for each in cpu.gradients(*given, (True, False))] == [False, True]
            assert torch.equal(cpu.gradients(*given, (False, True))[1], found[-1][1])
    for each in found:
        for one, other in zip(each, wanted, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=0, atol=2e-5)
    for one, three in zip(found[1:3], found[3:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


@needs_kernels
def test_gradients_of_bfloat16_and_of_some_channels_of_wider_maps():
    features, flow = drawn((2, 40, 9, 14))
    flow = within_cells(flow)
    half = features.bfloat16().contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(features.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    wanted = slopes(half, flow, gradient)
    found = cpu.gradients(half, flow, gradient, (True, True))
    assert [each.dtype for each in found] == [torch.bfloat16, torch.float32]
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=2**-8, atol=1e-5)
    torch.testing.assert_close(found[1].double(), wanted[1], rtol=0, atol=2e-5)
    wide = torch.full((2, 60, 9, 14), math.nan, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    wide[:, 7:47] = half
    for one, other in zip(cpu.gradients(wide[:, 7:47], flow, gradient, (True, True)), found, strict=True):
        assert torch.equal(one, other)


@needs_kernels
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_what_flow_does_not_lead_to_spoils_no_gradient(layout):
    features, flow = drawn((1, 17, 6, 8))
    features[0, :, 0, 0] = math.nan
    flow[0, 0], flow[0, 1] = torch.arange(8.0) % 3 - 12, -9.0
    given = features.contiguous(memory_format=layout), flow, torch.ones_like(features)
    assert all(torch.equal(each, torch.zeros_like(each)) for each in cpu.gradients(*given, (True, True)))


@needs_kernels
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_training_warps_by_the_kernels(half, monkeypatch):
    features, flow = drawn((1, 20, 9, 14))
    kind = torch.bfloat16 if half else torch.float32
    last = features.to(kind, memory_format=torch.channels_last).requires_grad_()
    inputs = last, within_cells(flow).requires_grad_()
    gradient = torch.randn(features.shape, generator=torch.Generator().manual_seed(1)).to(kind)
    wanted = torch.autograd.grad(definition.warp(*inputs), inputs, gradient)
    with monkeypatch.context() as patch:
        patch.setattr(definition, "warp", None)
        result = warp(*inputs)
        assert result.dtype == kind
        found = torch.autograd.grad(result, inputs, gradient, retain_graph=True)
    with monkeypatch.context() as patch:  # as where memory runs out
        patch.setattr(native_call, "run", lambda *arguments, threads: False)
        portable = torch.autograd.grad(warp(*inputs), inputs, gradient)
    tolerance = {"rtol": 2**-7, "atol": 2e-2} if half else {"rtol": 0, "atol": 5e-5}
    for one, other, exact in zip(found, wanted, portable, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, **tolerance)
        assert torch.equal(exact, other)


@needs_kernels
def test_gradients_are_differentiated_as_by_pytorch():
    features, flow = drawn((1, 20, 9, 14))
    inputs = features.requires_grad_(), within_cells(flow).requires_grad_()

    def twice(sampled):
        once = torch.autograd.grad(sampled(*inputs).square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in once), inputs)

    try:
        wanted = twice(definition.warp)
    except RuntimeError as error:  # older versions of PyTorch differentiate sampling once, and say so
        with pytest.raises(RuntimeError, match=re.escape(str(error).splitlines()[0])):
            twice(warp)
        return
    for one, other in zip(twice(warp), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2)


def test_warping_is_transformed_by_torch_func():
    features, flow = drawn((3, 20, 9, 14))
    pairs = features[:, None], flow[:, None]
    torch.testing.assert_close(torch.func.vmap(warp)(*pairs)[:, 0], definition.warp(features, flow))
    gradients = torch.func.vmap(torch.func.grad(lambda maps, there: warp(maps, there).square().sum()))(*pairs)
    exact = features.requires_grad_()
    wanted = torch.autograd.grad(definition.warp(exact, flow).square().sum(), exact)[0]
    torch.testing.assert_close(gradients[:, 0], wanted)
