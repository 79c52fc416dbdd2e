"""A network that starts from another: which parameters it takes, and what it computes then."""

import pytest
import torch
from torch import nn

import flowzoo
from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.training.inherit import inherit


def convolutions(width: int) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(width, width, 4, 2, 1), nn.Conv2d(width, 2, 1)
    )


def test_a_wider_network_computes_what_the_narrow_one_did() -> None:
    narrow, wide = convolutions(8), convolutions(13)
    before = wide.state_dict()["0.weight"][8:].clone()
    assert inherit(wide, narrow.state_dict()) == []
    images = torch.randn(2, 3, 9, 11)
    torch.testing.assert_close(wide(images), narrow(images))
    assert wide.state_dict()["0.weight"][8:].equal(before)  # new channels see something, or they could not learn
    wide(images).square().sum().backward()
    assert all((parameter.grad != 0).any() for parameter in wide[3].parameters())


def test_a_wider_decoder_of_wren_starts_with_the_same_flow() -> None:
    torch.manual_seed(0)
    narrow = registry.build("wren", width=20, refinement="none").eval()
    with torch.no_grad():
        for parameter in narrow.decoder.flow_head.parameters():
            parameter.normal_(std=0.1)
    wide = registry.build("wren", width=30, refinement="none").eval()
    assert inherit(wide, narrow.state_dict()) == []
    first, second = torch.rand(2, 1, 3, 64, 128).unbind()
    with torch.no_grad():
        expected, found = narrow(first, second).flow, wide(first, second).flow
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_wider_wren_of_another_matching_starts_with_the_flow_of_the_weights_that_ship() -> None:
    """New channels of the encoder meet weights of zero in projections, before these are normalised together."""
    torch.manual_seed(0)
    shipped = flowzoo.create("wren", "wren", refinement="none").eval()
    wider = {"channels": (32, 48, 80, 128, 128, 128), "width": 112, "hidden": 24, "matching": "attention"}
    wide = registry.build("wren", refinement="none", **wider).eval()
    assert {name.partition(".")[0] for name in inherit(wide, shipped.state_dict())} == {"global_matching", "choice"}
    coarse = torch.rand(1, 3, 16, 24)
    first = nn.functional.interpolate(coarse, (128, 192), mode="bilinear")
    with torch.inference_mode():
        expected, found = (network(first, first.roll((3, -7), dims=(2, 3))).flow for network in (shipped, wide))
    assert expected.abs().max() > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_stays_as_drawn() -> None:
    narrow, wide = convolutions(8), convolutions(13)
    before = {name: value.clone() for name, value in narrow.state_dict().items()}
    fresh = inherit(narrow, wide.state_dict())
    assert fresh == ["0.weight", "0.bias", "2.weight", "2.bias", "3.weight"]
    assert all(narrow.state_dict()[name].equal(before[name]) for name in fresh)
    with pytest.raises(InputError, match="share no parameter"):
        inherit(narrow, {"other": torch.zeros(3)})
