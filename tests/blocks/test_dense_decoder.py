"""The in-place decoder of inference against the concatenations it replaces."""

import pytest
import torch

from flowzoo.blocks.dense_decoder import DenseDecoder
from flowzoo.blocks.precision import flow_head
from flowzoo.operators import native
from flowzoo.operators.convolution import cpu


@pytest.mark.parametrize("order", [("front",) * 3, ("end", "front", "end"), ("end",) * 3])
def test_both_ways_put_channels_in_the_same_places(order):
    decoder = DenseDecoder(5, (4, 3, 2), order)
    parts = [torch.randn(2, 3, 6, 7), torch.randn(2, 2, 6, 7)]
    seen = torch.cat(parts, dim=1)
    for layer, place in zip(decoder.layers, order, strict=True):
        seen = torch.cat([layer(seen), seen] if place == "front" else [seen, layer(seen)], dim=1)
    with torch.no_grad():
        for found in decoder(parts)[:2]:
            torch.testing.assert_close(found, seen)
    parts[0].requires_grad_()
    for found in decoder(parts)[:2]:
        torch.testing.assert_close(found, seen)


@pytest.mark.parametrize("order", [("front",) * 3, ("end", "front", "end")])
def test_under_autocast_the_input_is_also_given_as_it_was(order, monkeypatch):
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: False)
    torch.manual_seed(2)
    decoder = DenseDecoder(5, (4, 3, 2), order)
    parts = [torch.randn(2, 3, 6, 7), torch.randn(2, 2, 6, 7)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        seen, exact, at = decoder(parts)
    assert seen.dtype == torch.bfloat16
    assert exact.dtype == torch.float32
    assert torch.equal(seen, exact.bfloat16())
    assert at == 0
    begin = sum(growth for growth, place in zip(decoder.channels, order, strict=True) if place == "front")
    assert torch.equal(exact[:, begin : begin + 5], torch.cat(parts, dim=1))
    with torch.no_grad():
        torch.testing.assert_close(exact, decoder(parts)[1], rtol=0, atol=0.05)


@pytest.mark.skipif(native.library() is None, reason="no C++ compiler")
@pytest.mark.parametrize("tiles", [True, False], ids=["tiles", "pairs"])
@pytest.mark.parametrize("carried", [None, 2])
@pytest.mark.parametrize("order", [("front",) * 3, ("end", "front", "end")])
def test_products_of_halves_keep_the_input_as_it_was_and_its_flow_exact(order, carried, tiles, monkeypatch):
    """Flow of an input far from what bfloat16 holds: a head that saw it rounded would be off by 30."""
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: True)
    monkeypatch.setattr(cpu, "has_tiles", lambda: tiles)
    torch.manual_seed(2)
    decoder, head = DenseDecoder(101, (24, 20, 16), order), flow_head(161)
    parts = [torch.randn(2, 99, 9, 18), 1e4 + torch.randn(2, 2, 9, 18)]
    with torch.no_grad():
        for layer in decoder.layers:
            layer[0].weight[:, -decoder.inputs :] *= 0.1
        with torch.autocast("cpu", torch.bfloat16):
            hidden, exact, at = decoder(parts, carried)
            flow = head.of_lowered(hidden, exact, at)
        assert hidden.dtype == torch.bfloat16
        assert (exact.dtype, flow.dtype) == (torch.float32, torch.float32)
        count = carried or 101
        assert torch.equal(exact, torch.cat(parts, dim=1)[:, -count:])
        begin = sum(growth for growth, place in zip(decoder.channels, order, strict=True) if place == "front")
        assert at == begin + 101 - count
        assert torch.equal(hidden[:, begin : begin + 101], torch.cat(parts, dim=1).bfloat16())
        every = hidden.double()
        every[:, at : at + count] = exact.double()
        wanted = torch.conv2d(every, head.weight.double(), head.bias.double(), padding=1)
        rounded = torch.conv2d(hidden.double(), head.weight.double(), head.bias.double(), padding=1)
        none = decoder(parts, 0).exact
        with torch.autocast("cpu", torch.bfloat16):
            assert decoder(parts, 0).exact.shape[1] == 0
            found = head.of_lowered(hidden, decoder(parts, 0).exact, 0)
    assert none.shape[1] == 161
    torch.testing.assert_close(found.double(), rounded, rtol=0, atol=2e-5 * rounded.abs().max().item())
    error = (flow.double() - wanted).abs().max()
    assert error < 2e-5 * wanted.abs().max()
    assert error < 0.05 * (rounded - wanted).abs().max()
    monkeypatch.setattr(cpu, "multiplies_halves", lambda: False)
    with torch.no_grad():
        torch.testing.assert_close(hidden.float(), decoder(parts).hidden, rtol=0.02, atol=0.02 * 1e4 * 0.1)
        torch.testing.assert_close(head.of_lowered(hidden, exact, at).double(), wanted, rtol=1e-6, atol=1e-2)


def test_layers_of_many_channels_see_the_same_where_they_are():
    torch.manual_seed(1)
    decoder = DenseDecoder(40, (64, 32, 33), ("front", "end", "front"))
    parts = [torch.randn(2, 25, 41, 60), torch.randn(2, 15, 41, 60).contiguous(memory_format=torch.channels_last)]
    with torch.no_grad():
        found = decoder(parts).hidden
    seen = torch.cat(parts, dim=1).double()
    for layer, place in zip(decoder.layers, decoder.order, strict=True):
        new = torch.conv2d(seen, layer[0].weight.double(), layer[0].bias.double(), padding=1)
        new = torch.where(new > 0, new, 0.1 * new)
        seen = torch.cat([new, seen] if place == "front" else [seen, new], dim=1)
    torch.testing.assert_close(found.double(), seen, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frozen", ["nothing", "inputs", "weights"])
def test_gradients_are_right_whatever_asks_for_them(frozen):
    torch.manual_seed(3)
    decoder = DenseDecoder(4, (3, 2), ("front", "end")).double()
    parts = [torch.randn(1, 2, 4, 5, dtype=torch.float64) for _ in range(2)]
    watched = list(decoder.parameters())
    if frozen == "weights":
        decoder.requires_grad_(False)
        watched = []
    if frozen != "inputs":
        watched += [part.requires_grad_() for part in parts]

    def value():
        return decoder(parts)[1].square().sum()

    gradients = torch.autograd.grad(value(), watched)
    for entry, gradient in zip(watched, gradients, strict=True):
        direction = torch.randn_like(entry)
        ends = []
        for step in (1e-6, -2e-6):
            entry.data.add_(direction, alpha=step)
            with torch.no_grad():
                ends.append(float(value()))
        entry.data.add_(direction, alpha=1e-6)
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-5)
