"""The in-place decoder of inference against the concatenations it replaces."""

import pytest
import torch

from flowzoo.blocks.dense_decoder import DenseDecoder


@pytest.mark.parametrize("order", [("front",) * 3, ("end", "front", "end"), ("end",) * 3])
def test_both_ways_put_channels_in_the_same_places(order):
    decoder = DenseDecoder(5, (4, 3, 2), order)
    parts = [torch.randn(2, 3, 6, 7), torch.randn(2, 2, 6, 7)]
    seen = torch.cat(parts, dim=1)
    for layer, place in zip(decoder.layers, order, strict=True):
        seen = torch.cat([layer(seen), seen] if place == "front" else [seen, layer(seen)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(decoder(parts), seen)
    parts[0].requires_grad_()
    torch.testing.assert_close(decoder(parts), seen)
