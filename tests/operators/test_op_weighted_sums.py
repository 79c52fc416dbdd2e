"""Weighted sums of rows and columns: against sums pixel by pixel, by the kernel and by its definition."""

import numpy as np
import pytest
import torch

from flowzoo.errors import InputError
from flowzoo.operators import native, native_call
from flowzoo.operators.weighted_sums import cpu, definition, weighted_sums

SHAPES = [(2, 3, 5, 7, 4, 3), (1, 1, 1, 1, 1, 1), (1, 2, 9, 1100, 12, 5), (2, 1, 40, 3, 1, 40)]
"""Batch, channels, height, width, outputs, taps."""


def drawn(shape, axis):
    batch, channels, height, width, outputs, taps = shape
    generator = torch.Generator().manual_seed(outputs)
    maps = torch.randn(batch, channels, height, width, generator=generator)
    index = torch.randint(0, maps.shape[axis], (taps, outputs), generator=generator)
    return maps, index, torch.randn(taps, outputs, generator=generator)


def summed(maps, axis, index, weight):
    lines = np.moveaxis(maps.double().numpy(), axis, 0)
    result = [sum(weight[t, i].item() * lines[index[t, i]] for t in range(len(index))) for i in range(index.shape[1])]
    return torch.from_numpy(np.moveaxis(np.stack(result), 0, axis))


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_line_is_a_weighted_sum(shape, axis, monkeypatch):
    maps, index, weight = drawn(shape, axis)
    wanted = summed(maps, axis, index, weight)
    found = [definition.weighted_sums(maps, axis, index, weight)]
    for threads in (1, 3) if native.library() is not None else ():
        monkeypatch.setattr(native_call, "threads_for", lambda flops, threads=threads: threads)
        for given in (maps, maps.contiguous(memory_format=torch.channels_last)):
            found.append(cpu.weighted_sums(given, axis, index, weight))
    for each in found:
        torch.testing.assert_close(each.double(), wanted, rtol=0, atol=1e-5)


def test_what_there_is_no_kernel_for_is_pytorchs():
    maps, index, weight = drawn(SHAPES[0], 2)
    found = weighted_sums(maps.double(), 2, index, weight.double())
    torch.testing.assert_close(found, summed(maps, 2, index, weight))
    maps.requires_grad_()
    weighted_sums(maps, 2, index, weight).sum().backward()
    wanted = torch.zeros(5).index_add(0, index.flatten(), weight.flatten())
    torch.testing.assert_close(maps.grad, wanted.view(1, 1, 5, 1).expand_as(maps))
    for far in (-1, 5):
        with torch.no_grad(), pytest.raises(IndexError):
            weighted_sums(maps, 2, torch.full_like(index, far), weight)


def test_shapes_that_do_not_go_together_are_refused():
    maps, index, weight = drawn(SHAPES[0], 2)
    with pytest.raises(InputError, match="axis must be 2 or 3, got 1"):
        weighted_sums(maps, 1, index, weight)
    with pytest.raises(InputError, match="one shape"):
        weighted_sums(maps, 2, index, weight[:1])
