"""Every choice that a network's settings offer builds, trains a step and infers at an odd size.

Choices are read from the cards: all combinations of how costs are measured, whether gradients stop and whether cues
are used (for the large HD3 enough of them that every two values meet); every other choice alone.
"""

import dataclasses
import itertools
import typing

import pytest
import torch

from flowzoo import registry
from flowzoo.errors import InputError
from flowzoo.settings import field_types

CROSSED = ("cost_volume", "stop_flow_gradient", "flow_cues")
# Less work for the same code paths.
SMALLER = {
    "PWCNet": {"feature_channels": (4, 4, 6, 6, 8, 8), "decoder_channels": (8, 8, 6, 6, 4)},
    "LiteFlowNet": {
        "feature_channels": (4, 4, 6, 6, 8, 8),
        "matching_channels": (8, 6),
        "subpixel_channels": (8, 6),
        "regularisation_channels": (8, 6),
        "regularisation_projection": 6,
        "finest_projection": 6,
    },
}
# Networks that need minutes for all of this; their choices are tested with their parts.
LARGE = ("GLUNet", "BaseNet")


def choices(card):
    """Setting -> the values it can take, for switches and lists of words."""
    found = {}
    for name, kind in field_types(card.settings).items():
        if kind is bool:
            found[name] = (False, True)
        elif typing.get_origin(kind) is typing.Literal:
            found[name] = typing.get_args(kind)
    return found


def combinations():
    found, seen, families = [], set(), set()
    for card in (card for card in registry.cards().values() if card.task == "flow"):
        family = card.build.partition(":")[2]
        if family in LARGE:
            continue
        offered = choices(card)
        crossed = [name for name in CROSSED if name in offered]
        sets = [{name: value} for name in offered if name not in crossed for value in offered[name]]
        if family not in families:
            families.add(family)
            for places in itertools.product(*(range(len(offered[name])) for name in crossed)):
                if family != "HD3" or sum(places) % 2 == 0:
                    sets.append({name: offered[name][place] for name, place in zip(crossed, places, strict=True)})
        for changes in sets:
            try:
                settings = dataclasses.replace(card.settings, **changes)
            except InputError:
                continue  # no network has these
            if (family, settings) not in seen:
                seen.add((family, settings))
                label = "-".join([card.name, *(f"{name}={value}" for name, value in changes.items())])
                found.append(pytest.param(card.name, changes, id=label))
    return found


def build(name, changes):
    card = registry.card(name)
    smaller = SMALLER.get(card.build.partition(":")[2], {})
    try:
        return registry.build(name, **{k: v for k, v in smaller.items() if getattr(card.settings, k)}, **changes)
    except InputError as error:
        pytest.skip(f"refused: {error}")


@pytest.mark.parametrize(("name", "changes"), combinations())
def test_it_builds_trains_a_step_and_infers(name, changes):
    network = build(name, changes).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    prediction = network(*torch.rand(2, 1, 3, 64, 64))
    loss = prediction.flow.square().mean() + sum(level.square().mean() for level in prediction.pyramid)
    loss.backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0, error_if_nonfinite=True)
    optimizer.step()
    network.eval()
    with torch.inference_mode():
        prediction = network(*torch.rand(2, 1, 3, 37, 53))
    assert prediction.flow.shape == (1, 2, 37, 53)
    assert torch.isfinite(prediction.flow).all()
    if changes.get("flow_cues"):
        assert prediction.details["backward"].shape == (1, 2, 37, 53)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("liteflownet2", {"cost_volume": "sample"}),
        ("pwcnet", {"cost_volume": "sample-sad", "stop_flow_gradient": True, "flow_cues": True}),
        ("hd3", {"cost_volume": "sample-sad", "stop_flow_gradient": True, "flow_cues": True, "cost_range": 8}),
    ],
)
def test_published_sizes_of_networks_take_other_parts(name, changes):
    network = registry.build(name, **changes)
    prediction = network(*torch.rand(2, 1, 3, 65, 40))
    prediction.flow.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
