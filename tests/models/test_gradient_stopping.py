"""`stop_flow_gradient`: a level's flow learns from its own loss alone, features from all.

The proof that gradients through features are the ones they were: they equal finite differences of the same network in
which the coarser flow is replaced by a constant.
"""

import copy

import pytest
import torch

from flowzoo import registry

SMALL = {
    "pwcnet": {"feature_channels": (4, 4, 6, 6, 8, 8), "decoder_channels": (8, 8, 6, 6, 4)},
    "liteflownet2": {
        "feature_channels": (4, 4, 6, 6, 8, 8),
        "matching_channels": (8, 6),
        "subpixel_channels": (8, 6),
        "regularisation_channels": (8, 6),
        "regularisation_projection": 6,
    },
    "hd3": {},
}


def build(name, **settings):
    torch.manual_seed(1)
    network = registry.build(name, **SMALL[name], **settings).double().eval()
    for parameter in network.parameters():
        # The published starts give tiny flows; larger ones move every warp off the pixel grid.
        parameter.data.mul_(1.5 if name == "hd3" else 1.1)
    return network


def pair(size=(64, 64)):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(2, 1, 3, *size, generator=generator, dtype=torch.float64)


def flow_layers(network, name):
    """Parameters of coarser levels that only their own level's flow depends on."""
    if name == "hd3":
        return [p for level in network.levels[:4] for p in level.decoder.classify.parameters()]
    coarser = [level for number, level in network.levels.items() if int(number) > min(map(int, network.levels))]
    if name == "pwcnet":
        return [p for level in coarser for p in level.flow.parameters()]
    return [p for level in coarser for p in level.parameters()]


def gradients(loss, parameters):
    return [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(
            parameters, torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True), strict=True
        )
    ]


@pytest.mark.parametrize("both", [False, True], ids=["one-direction", "cues"])
@pytest.mark.parametrize("name", list(SMALL))
def test_no_gradient_of_a_finer_level_reaches_a_coarser_flow(name, both):
    stopped = build(name, stop_flow_gradient=True, flow_cues=both, cost_volume="sample")
    finest = stopped(*pair()).pyramid[-1].square().sum()
    assert all(not g.any() for g in gradients(finest, flow_layers(stopped, name)))
    free = build(name, flow_cues=both, cost_volume="sample")
    finest = free(*pair()).pyramid[-1].square().sum()
    assert all(g.any() for g in gradients(finest, [p for p in flow_layers(free, name) if p.dim() > 1]))


@pytest.mark.parametrize("name", list(SMALL))
def test_every_level_learns_from_its_own_loss_and_the_coarsest_as_before(name):
    found = {}
    for stop in (True, False):
        network = build(name, stop_flow_gradient=stop)
        pyramid = network(*pair()).pyramid
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        found[stop] = gradients(pyramid[0].square().sum(), trained)
        if stop:
            layers = flow_layers(network, name)
            reached = gradients(sum(level.square().sum() for level in pyramid), layers)
            assert all(g.any() for g, layer in zip(reached, layers, strict=True) if layer.dim() > 1)
    assert all(torch.equal(a, b) for a, b in zip(found[True], found[False], strict=True))


def test_handed_features_carry_the_same_gradient_as_with_a_constant_flow():
    network = build("hd3", stop_flow_gradient=True)
    first, second = pair()
    constants = []
    hooks = [level.register_forward_pre_hook(lambda _, inputs: constants.append(inputs[2])) for level in network.levels]
    logits = network(first, second).details["logits"][-1]
    for hook in hooks:
        hook.remove()
    weighting = torch.randn_like(logits)
    # These parameters reach the finest level only through the features that a coarser level hands down.
    watched = [level.decoder.enlarge[2].weight for level in network.levels[:4]]
    found = gradients((logits * weighting).sum(), watched)

    def value(moved):
        for level, above in zip(moved.levels, constants, strict=True):
            if above is not None:
                flow = above[0].detach()
                level.register_forward_pre_hook(lambda _, i, flow=flow: (i[0], i[1], (flow, i[2][1])))
        with torch.enable_grad():
            return float((moved(first, second).details["logits"][-1] * weighting).sum().detach())

    for index, gradient in list(enumerate(found))[::3]:
        assert gradient.any()
        direction = torch.randn_like(gradient)
        step = 1e-8
        ends = []
        for sign in (1, -1):
            moved = copy.deepcopy(network)
            moved.levels[index].decoder.enlarge[2].weight.data.add_(direction, alpha=sign * step)
            ends.append(value(moved))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((gradient * direction).sum()), rel=1e-3)


def test_pwcnet_enlarging_layers_still_learn():
    network = build("pwcnet", stop_flow_gradient=True)
    finest = network(*pair()).pyramid[-1].square().sum()
    layers = [network.levels[number].enlarge_flow.weight for number in "6543"]
    layers += [network.levels[number].enlarge_features.weight for number in "6543"]
    assert all(g.any() for g in gradients(finest, layers))
