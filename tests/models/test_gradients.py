"""Who gets a gradient in every network of the zoo: all parameters that are trained, under every preset's loss."""

import pytest
import torch

import flowzoo
from flowzoo import registry
from flowzoo.training.flow.objective import make_loss
from flowzoo.training.recipe import Recipe, list_presets, load_recipe

NAMES = flowzoo.list_models(task="flow")


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_reaches_all_parameters_but_those_that_are_frozen(name):
    network = registry.build(name).train()
    frozen = {key for key, value in network.named_parameters() if not value.requires_grad}
    for key, value in network.named_parameters():
        # VGG-16 is used, but kept as ImageNet made it.
        value.requires_grad_(not (key.startswith("backbone.levels.") and key in frozen))
    prediction = network(*torch.rand(2, 2, 3, 64, 64))
    loss = prediction.flow.abs().mean() + sum(level.abs().mean() for level in prediction.pyramid)
    loss.backward()
    assert {key for key, value in network.named_parameters() if value.grad is None} == frozen
    # Buffers that processes of one training run do not exchange are constants.
    fresh, kept = dict(registry.build(name).named_buffers()), network._ddp_params_and_buffers_to_ignore
    changed = {key for key, value in network.named_buffers() if not torch.equal(value, fresh[key])}
    assert changed.isdisjoint(kept)
    for key, value in network.named_parameters():
        if value.grad is not None:
            assert torch.isfinite(value.grad).all(), key


def cases():
    """Presets' stages, one for each network and loss that a preset trains.

    Of the matching networks, which take seconds each, one a family: their tests take other settings a step.
    """
    seen, found = set(), []
    for preset in sorted(list_presets("flow"), reverse=True):
        recipe = load_recipe(preset)
        for stage in recipe.stages:
            own, both = stage.task.loss, stage.task.pairs.both_directions
            loss = (own.loss, own.level_weights, own.full_weight > 0, own.max_pooling < 1, own.upsample)
            family = registry.card(recipe.model).build.partition(":")[2]
            part = () if family in ("GLUNet", "BaseNet") else (recipe.model, stage.network, both)
            key = (family, loss, part)
            if key not in seen:
                seen.add(key)
                found.append(pytest.param(recipe, stage, id=f"{preset}-{stage.name}"))
    return found


@pytest.mark.parametrize(("recipe", "stage"), cases())
def test_every_presets_loss_reaches_all_parameters_that_are_trained(recipe: Recipe, stage):
    network = registry.build(recipe.model, **dict(entry.partition("=")[::2] for entry in stage.network)).train()
    for key, value in network.named_parameters():
        value.requires_grad_(value.requires_grad and not key.startswith(stage.frozen or "-"))
    flow, valid = torch.randn(1, 2, 64, 64), torch.ones(1, 64, 64)
    reverse = torch.cat([-flow, valid.unsqueeze(1)], dim=1) if stage.task.pairs.both_directions else None
    make_loss(stage.task.loss)(network(*torch.rand(2, 1, 3, 64, 64)), flow, valid, None, reverse).backward()
    missed = [key for key, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert not missed
