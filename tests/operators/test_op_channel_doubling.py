"""Doubling channel by channel: against a sum over all that meets a pixel, by the kernel and by its definition."""

import pytest
import torch

from flowzoo.errors import InputError
from flowzoo.operators import native, native_call
from flowzoo.operators.channel_doubling import channel_doubling, cpu, definition

SHAPES = [(2, 17, 3, 5), (1, 16, 1, 1), (1, 49, 6, 1), (1, 33, 1, 20)]


def drawn(shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator), torch.randn(shape[1], 1, 4, 4, generator=generator)


def enlarged(maps, weight):
    """Tap by tap, in float64."""
    batch, channels, height, width = maps.shape
    result = torch.zeros(batch, channels, 2 * height + 2, 2 * width + 2, dtype=torch.float64)
    for i in range(4):
        for j in range(4):
            part = maps.double() * weight[:, 0, i, j].double().view(-1, 1, 1)
            result[:, :, i : i + 2 * height : 2, j : j + 2 * width : 2] += part
    return result[:, :, 1:-1, 1:-1]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pixel_is_the_sum_of_what_meets_it(shape, monkeypatch):
    maps, weight = drawn(shape)
    wanted = enlarged(maps, weight)
    found = [definition.channel_doubling(maps, weight)]
    with torch.no_grad():
        for threads in (1, 3) if native.library() is not None else ():
            monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
            for given in (maps, maps.contiguous(memory_format=torch.channels_last)):
                found.append(cpu.channel_doubling(given, weight))
        single = [channel_doubling(each[None], weight) for each in maps]
        assert torch.equal(torch.cat(single), channel_doubling(maps, weight))
    for each in found:
        torch.testing.assert_close(each.double(), wanted, rtol=0, atol=1e-5)
    assert all(torch.equal(found[1], each) for each in found[2:])


@pytest.mark.skipif(native.library() is None, reason="there are no CPU kernels here")
def test_autocast_gets_its_type_and_training_pytorchs_operator():
    maps, weight = drawn((1, 20, 6, 7))
    wanted = enlarged(maps, weight)
    with torch.no_grad():
        assert channel_doubling(maps, weight).is_contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            half = channel_doubling(maps, weight)
        assert cpu.channel_doubling(maps[:, :15], weight[:15]) is None
        assert cpu.channel_doubling(maps.double(), weight.double()) is None
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), wanted, rtol=2**-8, atol=1e-5)
    maps.requires_grad_()
    channel_doubling(maps, weight).sum().backward()
    torch.testing.assert_close(maps.grad[0, :, 1:-1, 1:-1], weight.sum((2, 3))[:, :, None].expand(-1, 4, 5))


def test_weights_of_another_shape_are_refused():
    maps, weight = drawn(SHAPES[0])
    with pytest.raises(InputError, match=r"weight must have the shape \(17, 1, 4, 4\)"):
        channel_doubling(maps, weight[:16])
