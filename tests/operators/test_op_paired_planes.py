"""Maps of pairs beside each other: every number in its place, from every layout, and gradients."""

import numpy as np
import pytest
import torch

from flowzoo import operators
from flowzoo.errors import InputError
from flowzoo.operators import native, native_call
from flowzoo.operators.paired_planes import definition

SIZES = [(2, 1, 1, 1), (4, 5, 7, 9), (2, 32, 37, 65), (6, 17, 1, 40), (2, 16, 16, 1)]


def drawn(*shape: int, layout: torch.memory_format = torch.channels_last) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("shape", SIZES)
def test_every_number_is_in_its_place(shape: tuple[int, int, int, int], layout: torch.memory_format) -> None:
    maps = drawn(*shape, layout=layout)
    found, batch = operators.paired_planes(maps), shape[0] // 2
    assert found.is_contiguous()
    wanted = np.zeros((batch, shape[1], 2, *shape[2:]), np.float32)
    for image, channel, y, x in np.ndindex(*shape):
        wanted[image % batch, channel, image // batch, y, x] = maps[image, channel, y, x]
    np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.skipif(native.library() is None, reason="no C++ compiler")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SIZES)
def test_the_kernel_is_the_definition(
    shape: tuple[int, int, int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = drawn(*shape)
    wanted = definition.paired_planes(maps)
    monkeypatch.setattr(native_call, "threads_for", lambda flops: threads)
    monkeypatch.delattr(definition, "paired_planes")  # the kernel must do it
    assert torch.equal(operators.paired_planes(maps), wanted)


def test_gradients_go_back_to_the_images() -> None:
    maps, weights = drawn(4, 3, 2, 5).requires_grad_(), drawn(2, 3, 10, 2).reshape(2, 3, 2, 2, 5)
    (operators.paired_planes(maps) * weights).sum().backward()
    assert torch.equal(maps.grad, torch.cat([weights[:, :, 0], weights[:, :, 1]]))


def test_an_odd_number_of_maps_is_refused() -> None:
    with pytest.raises(InputError, match="even number"):
        operators.paired_planes(drawn(3, 2, 4, 4))
