"""Presets of HD3 and of the pyramid-level paper: networks, losses and data are there and say what they do."""

import pytest
import torch

from flowzoo import registry
from flowzoo.datasets.catalogue import dataset_class
from flowzoo.models.hd3 import HD3
from flowzoo.settings import replace
from flowzoo.training.flow.mixture import AUGMENTATIONS
from flowzoo.training.flow.objective import make_loss
from flowzoo.training.recipe import list_presets, load_recipe

PRESETS = [name for name in list_presets() if name.startswith(("hd3-", "pyramid-"))]
CHAIRS2, THINGS, SINTEL = 22232, 19640, 1041


def settings_of(stage):
    words = dict(entry.split("=", 1) for entry in stage.network)
    return replace(registry.card("hd3").settings, "network hd3", **words)


def test_every_row_of_both_tables_has_a_preset():
    assert {f"pyramid-table1-row{row}" for row in range(1, 10)} <= set(PRESETS)
    assert {f"pyramid-table2-{part}{row}" for part in "pf" for row in range(1, 5)} <= set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fits_together(preset):
    recipe = load_recipe(preset)
    assert recipe.model == "hd3"
    for stage in recipe.stages:
        assert stage.task.pairs.augmentation in AUGMENTATIONS
        assert stage.task.loss.loss == "density"
        assert all(side % 64 == 0 for side in stage.task.pairs.crop)
        assert list(stage.milestones) == sorted(stage.milestones)
        assert stage.milestones[-1] < stage.steps
        for entry in stage.task.pairs.data:
            name, _, subset = entry.partition(":")[0].partition("/")
            assert not subset or subset in dataset_class(name).subsets
        make_loss(stage.task.loss)
    with torch.device("meta"):
        HD3(settings_of(recipe.stages[-1]))


def test_what_the_rows_switch_on():
    def parts(preset):
        stage = load_recipe(preset).stages[-1]
        found, pooled = settings_of(stage), stage.task.loss.max_pooling < 1
        return (found.stop_flow_gradient, found.cost_volume, found.flow_cues, pooled, found.cost_range)

    assert parts("pyramid-table1-row1") == (False, "warp", False, False, 4)
    assert parts("pyramid-table1-row2") == (True, "warp", False, False, 4)
    assert parts("pyramid-table1-row4") == (True, "sample", False, False, 4)
    for everything in ("pyramid-table1-row9", "pyramid-table2-p3", "pyramid-table2-f3", "pyramid-kitti"):
        assert parts(everything) == (True, "sample-sad", True, True, 4)
    for wide in ("pyramid-table2-p4", "pyramid-table2-f4", "pyramid-kitti-range8"):
        assert parts(wide) == (True, "sample-sad", True, True, 8)
    seen = [parts(f"pyramid-table1-row{row}") for row in range(1, 10)]
    assert len(set(seen)) == 9
    # Rows 2 and 3 warp, rows 4 to 9 sample: the two columns whose marks are certain.
    assert all(row[0] for row in seen[1:])
    assert [row[1] == "warp" for row in seen] == [True] * 3 + [False] * 6


def test_steps_are_the_published_epochs():
    steps = {name: [stage.steps for stage in load_recipe(name).stages] for name in PRESETS}
    both = 200 * (CHAIRS2 // 64), 200 * (THINGS // 64)
    assert steps["pyramid-table1-row9"] == [both[0]]
    assert steps["pyramid-table2-p3"] == list(both)
    assert steps["pyramid-table2-f3"] == steps["hd3-sintel"] == [1200 * (SINTEL // 32)]
    assert steps["hd3-chairs"] == [200 * (CHAIRS2 // 32)]
    assert steps["hd3-things"] == [200 * (THINGS // 32)]
    assert steps["pyramid-kitti"] == [1600 * (394 // 32)]
    assert steps["pyramid-kitti-range8"] == [1400 * (394 // 32)]
    chairs = load_recipe("hd3-chairs").stages[0]
    assert list(chairs.milestones) == [epoch * (CHAIRS2 // 32) for epoch in (70, 100, 130, 160)]
    assert load_recipe("pyramid-kitti").stages[0].task.loss.distillation == 0.9


def test_synthetic_stages_train_on_both_directions_of_64_pairs_and_real_ones_forward():
    for preset in PRESETS:
        for stage in load_recipe(preset).stages:
            both = preset.startswith(("pyramid-table1", "pyramid-table2-p"))
            assert stage.task.pairs.both_directions == both
            assert stage.batch == (64 if both else 32)
            if both:
                assert settings_of(stage).both_directions


@pytest.mark.parametrize("preset", ["pyramid-table1-row1", "pyramid-kitti"])
def test_the_loss_of_a_preset_trains_its_network(preset):
    stage = load_recipe(preset).stages[-1]
    network = HD3(settings_of(stage)).train()
    prediction = network(*torch.rand(2, 2, 3, 64, 64))
    pairs = stage.task.pairs
    labels = torch.cat([torch.randn(2, 2, 64, 64), torch.ones(2, 1, 64, 64)], dim=1) if pairs.labels else None
    reverse = torch.ones(2, 3, 64, 64) if pairs.both_directions else None
    flow, valid = torch.randn(2, 2, 64, 64) * 5, torch.rand(2, 64, 64) < 0.3
    loss = make_loss(stage.task.loss)(prediction, flow, valid, labels, reverse)
    loss.backward()
    assert 0 < float(loss.detach()) < float("inf")
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
