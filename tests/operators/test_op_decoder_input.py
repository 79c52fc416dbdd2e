"""A decoder's input against a loop over its numbers, its layout and its gradients."""

import numpy as np
import pytest
import torch

from flowzoo import operators

pytestmark = pytest.mark.usefixtures("native_and_portable")

SIZES = [(1, 1, 1), (2, 5, 7), (1, 1, 40), (1, 37, 65), (3, 8, 8)]
CHANNELS = [(1, 1, 1), (9, 3, 2), (81, 32, 18), (16, 17, 33)]


def drawn(size: tuple[int, int, int], channels: tuple[int, int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(size))
    return [torch.randn(size[0], count, *size[1:], generator=generator) for count in channels]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES)
def test_every_number_is_in_its_place(size: tuple[int, int, int], channels: tuple[int, int, int]) -> None:
    parts = drawn(size, channels)
    found = operators.decoder_input(*parts, 0.25, 2)
    assert found.is_contiguous(memory_format=torch.channels_last)
    cost, features, others = (part.double().numpy() for part in parts)
    wanted = np.zeros((size[0], sum(channels), *size[1:]))
    for place in np.ndindex(*wanted.shape):
        sample, channel, y, x = place
        if channel < channels[0]:
            value = cost[place]
            wanted[place] = 2 * (value if value > 0 else value / 4)
        elif channel < channels[0] + channels[1]:
            wanted[place] = features[sample, channel - channels[0], y, x]
        else:
            wanted[place] = others[sample, channel - channels[0] - channels[1], y, x]
    np.testing.assert_array_equal(found.numpy(), wanted.astype(np.float32))  # powers of two: nothing is rounded


@pytest.mark.parametrize("beside", [0, 3])
def test_features_are_read_where_they_are(beside: int) -> None:
    cost, features, others = drawn((2, 9, 37), (19, 33, 4))
    wide = torch.full((2, 9, 37, 33 + 2 * beside), torch.nan).permute(0, 3, 1, 2)
    wide[:, beside : beside + 33] = features
    found = operators.decoder_input(cost, wide[:, beside : beside + 33], others, 0.25, 2)
    assert torch.equal(found, operators.decoder_input(cost, features, others, 0.25, 2))


def test_what_is_no_number_stays_so() -> None:
    cost, features, others = drawn((1, 2, 40), (17, 1, 1))
    cost[0, 3, 1, 5], cost[0, 16, 0, 1], cost[0, 2, 0, 2] = torch.nan, torch.nan, -torch.inf
    found = operators.decoder_input(cost, features, others, 0.1, 2)
    assert found.isnan().nonzero().tolist() == [[0, 3, 1, 5], [0, 16, 0, 1]]
    assert found[0, 2, 0, 2] == -torch.inf


def test_gradients_go_back_to_the_parts() -> None:
    parts = [part.requires_grad_() for part in drawn((2, 3, 5), (4, 3, 2))]
    weights = torch.randn(2, 9, 3, 5, generator=torch.Generator().manual_seed(1))
    (operators.decoder_input(*parts, 0.25, 2) * weights).sum().backward()
    to_cost = weights[:, :4] * torch.where(parts[0] > 0, 2.0, 0.5)
    for part, wanted in zip(parts, (to_cost, weights[:, 4:7], weights[:, 7:]), strict=True):
        torch.testing.assert_close(part.grad, wanted, rtol=0, atol=0)
