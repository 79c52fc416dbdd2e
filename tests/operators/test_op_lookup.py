"""RAFT's look-up against brute force over its definition, in both forms, with derivatives."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.library import opcheck

from flowzoo.errors import InputError
from flowzoo.operators import lookup
from flowzoo.operators.lookup import definition, prepare_lookup

FORMS = ("stored", "on-demand")


def brute_force(first, second, coordinates, radius: int, levels: int) -> np.ndarray:
    """Loops over everything; bilinear reading by its four weights."""
    first, second, coordinates = (tensor.detach().double().numpy() for tensor in (first, second, coordinates))
    batch, channels, rows, columns = first.shape
    side = 2 * radius + 1
    out = np.zeros((batch, levels * side * side, rows, columns))
    maps = [second]
    for _ in range(levels - 1):
        height, width = maps[-1].shape[2] // 2, maps[-1].shape[3] // 2
        cut = maps[-1][:, :, : 2 * height, : 2 * width]
        maps.append(sum(cut[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)) / 4)
    for b, y, x, level in itertools.product(range(batch), range(rows), range(columns), range(levels)):
        height, width = maps[level].shape[2:]
        centre = coordinates[b, :, y, x] / 2**level
        if not np.isfinite(centre).all():
            continue
        for i, j in itertools.product(range(-radius, radius + 1), repeat=2):
            px, py = centre[0] + i, centre[1] + j
            vector = np.zeros(channels)
            for ny, nx in itertools.product((math.floor(py), math.floor(py) + 1), (math.floor(px), math.floor(px) + 1)):
                if 0 <= ny < height and 0 <= nx < width:
                    vector += maps[level][b, :, ny, nx] * (1 - abs(px - nx)) * (1 - abs(py - ny))
            channel = level * side * side + (i + radius) * side + j + radius
            out[b, channel, y, x] = vector @ first[b, :, y, x] / math.sqrt(channels)
    return out


def inputs(size=(3, 4), inner=(9, 7), channels=5, batch=2, dtype=torch.float64):
    first = torch.randn(batch, channels, *size, dtype=dtype)
    second = torch.randn(batch, channels, *inner, dtype=dtype)
    reach = torch.tensor([inner[1] + 6.0, inner[0] + 6.0], dtype=dtype).view(1, 2, 1, 1)
    return first, second, torch.rand(batch, 2, *size, dtype=dtype) * reach - 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("size", "inner", "radius", "levels"),
    [
        ((3, 4), (9, 7), 2, 4),
        ((2, 3), (16, 17), 3, 3),
        ((1, 1), (1, 1), 1, 2),
        ((2, 2), (1, 6), 0, 3),
        ((1, 5), (4, 4), 4, 1),
    ],
)
def test_values(form, size, inner, radius, levels):
    tensors = inputs(size, inner)
    found = lookup(*tensors, radius, levels, form)
    assert np.abs(found.numpy() - brute_force(*tensors, radius, levels)).max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_whole_numbers_far_away_and_no_numbers(form):
    first, second, coordinates = inputs((4, 4), (6, 5))
    coordinates = coordinates.round()
    coordinates[0, 0, 0, 0], coordinates[0, 1, 1, 0] = float("nan"), float("inf")
    coordinates[1, :, 0, 1], coordinates[1, :, 1, 1] = 1e30, -1e30
    found = lookup(first, second, coordinates, 2, 3, form)
    assert np.abs(found.numpy() - brute_force(first, second, coordinates, 2, 3)).max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_the_slow_index_moves_x(form):
    first, second = torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)
    second[0, :, 3, 5] = 1  # row 3, column 5
    coordinates = torch.tensor([4.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    costs = lookup(first, second, coordinates, 1, 1, form)[0, :, 0, 0]
    assert costs.nonzero().flatten().tolist() == [7]  # a = 1, b = 0
    assert costs[7] == 2  # 4 / sqrt(4)


@pytest.mark.parametrize("form", FORMS)
def test_derivatives(form):
    tensors = [tensor.requires_grad_() for tensor in inputs((2, 2), (5, 4), channels=2, batch=1)]
    assert torch.autograd.gradcheck(lambda *args: lookup(*args, 1, 2, form), tensors)
    assert torch.autograd.gradgradcheck(lambda *args: lookup(*args, 1, 2, form), tensors)


def test_coordinates_without_gradient_leave_the_others_alone():
    first, second, coordinates = inputs()
    found = []
    for wanted in (True, False):
        leaves = first.clone().requires_grad_(), second.clone().requires_grad_()
        lookup(*leaves, coordinates.clone().requires_grad_(wanted), 2, 3).square().sum().backward()
        found.append([leaf.grad for leaf in leaves])
    assert all(torch.allclose(one, other) for one, other in zip(*found, strict=True))


def test_forms_agree_in_float32_where_values_are_large():
    first, second, coordinates = (tensor.float() for tensor in inputs((12, 16), (12, 16), channels=256))
    one, other = (lookup(first * 5, second * 5, coordinates, 4, 4, form) for form in FORMS)
    assert (one - other).abs().max() < 1e-5 * one.abs().max()
    assert one.abs().max() > 50


def test_auto_stores_what_fits_where_there_is_no_kernel():
    first, second, _ = inputs((6, 8), (6, 8))  # float64: no kernel
    stored = 2 * 48 * (48 + 12 + 2) * 8  # 48 + 3*4 + 1*2 pixels on three levels
    assert "Stored" in type(prepare_lookup(first, second, 2, 3, "auto", stored)).__name__
    assert "OnDemand" in type(prepare_lookup(first, second, 2, 3, "auto", stored - 1)).__name__


def test_mistakes_are_named():
    first, second, coordinates = inputs()
    with pytest.raises(InputError, match="one number of channels"):
        lookup(first, second[:, :1], coordinates, 1, 1)
    with pytest.raises(InputError, match="coordinates must be"):
        lookup(first, second, coordinates[:, :, :1], 1, 1)
    with pytest.raises(InputError, match="levels >= 1"):
        lookup(first, second, coordinates, 1, 0)
    with pytest.raises(InputError, match="floating point"):
        lookup(first.long(), second.long(), coordinates, 1, 1)


def packed(second: torch.Tensor, levels: int) -> torch.Tensor:
    return definition.packed(second, levels)


@pytest.mark.parametrize("batch", [0, 2])
def test_opcheck(batch):
    first, second, coordinates = inputs((3, 4), (5, 4), batch=batch, dtype=torch.float32)
    tensors = [tensor.requires_grad_() for tensor in (first, packed(second, 2), coordinates)]
    opcheck(torch.ops.flowzoo.lookup.default, (*tensors, 5, 4, 1, 2))
    gradient = torch.randn(batch, 18, 3, 4)
    plain = [tensor.detach() for tensor in tensors]
    opcheck(torch.ops.flowzoo.lookup_backward.default, (gradient, *plain, 5, 4, 1, 2, True))


def test_compiles_in_one_graph_and_exports():
    tensors = [tensor.requires_grad_() for tensor in inputs((3, 4), (5, 4), dtype=torch.float32)]
    torch._dynamo.reset()
    compiled = torch.compile(lambda *args: lookup(*args, 1, 2), fullgraph=True, backend="aot_eager")
    found, wanted = compiled(*tensors), lookup(*tensors, 1, 2)
    assert torch.allclose(found, wanted, atol=1e-6)
    for one, other in zip(*(torch.autograd.grad(out.sum(), tensors) for out in (found, wanted)), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_keeps_float32(form):
    first, second, coordinates = inputs((3, 4), (5, 4), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = lookup(first.bfloat16(), second.bfloat16(), coordinates, 1, 2, form)
    assert found.dtype == torch.float32
    wanted = lookup(first.bfloat16().float(), second.bfloat16().float(), coordinates, 1, 2)
    assert torch.allclose(found, wanted, atol=2e-2)


def test_works_on_the_meta_device():
    first, second, coordinates = (tensor.to("meta") for tensor in inputs())
    for form in FORMS:
        assert lookup(first, second, coordinates, 2, 3, form).shape == (2, 75, 3, 4)
