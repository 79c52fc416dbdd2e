"""Labels of a teacher reach the loss unharmed: through files, augmentation and batches, as equation 7 has it."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from flowzoo.augmentation import Augmentation, AugmentationSettings, TrainingSample, collate
from flowzoo.errors import InputError
from flowzoo.files.flow import write_flow
from flowzoo.files.images import write_image
from flowzoo.losses.density import density_loss
from flowzoo.losses.multiscale import MultiscaleLoss
from flowzoo.losses.penalties import charbonnier
from flowzoo.network import FlowPrediction
from flowzoo.training.flow.objective import make_loss
from flowzoo.training.flow.settings import LossSettings
from flowzoo.training.flow.sources import open_source
from flowzoo.training.recipe import load_recipe
from flowzoo.training.state import same_recipe


def labelled(seed: int = 0) -> TrainingSample:
    """A pair whose labels are its ground truth."""
    generator = np.random.default_rng(seed)
    frames = torch.from_numpy(generator.integers(0, 256, (2, 3, 40, 56), dtype=np.uint8))
    # One smooth motion: interpolation is then exact for both.
    flow = torch.ones(2, 40, 56) * torch.tensor([1.5, -0.75]).view(2, 1, 1)
    valid = torch.ones(40, 56, dtype=torch.bool)
    labels = torch.cat([flow, valid[None].float()])
    labels[2, :, 20:] = 0
    return TrainingSample(frames[0], frames[1], flow, valid, labels=labels)


@pytest.mark.parametrize(
    "settings",
    [
        AugmentationSettings(horizontal_flip=0.5, vertical_flip=0.5),
        AugmentationSettings.chairs(),
        AugmentationSettings.kitti(),
    ],
    ids=["flips", "chairs", "kitti"],
)
def test_augmentation_moves_labels_as_it_moves_ground_truth(settings):
    augment = Augmentation(settings, (24, 32), seed=1)
    seen = 0
    for index in range(6):
        changed = augment(labelled(), 0, index)
        assert changed.labels.shape == (3, 24, 32)
        marked = changed.labels[2] > 0
        seen += int(marked.sum())
        torch.testing.assert_close(changed.labels[:2][:, marked], changed.flow[:, marked], atol=1e-4, rtol=0)
        assert not marked.all()
    assert seen > 0


def test_batches_mix_samples_with_and_without_labels():
    augment = Augmentation(AugmentationSettings(), (24, 32))
    without = dataclasses.replace(labelled(), labels=None)
    batch = collate([augment(labelled(), 0, 0), augment(without, 0, 1)]).to("cpu")
    assert batch.labels.shape == (2, 3, 24, 32)
    assert batch.labels[0, 2].any()
    assert not batch.labels[1].any()
    assert collate([augment(without, 0, 1)]).to("cpu").labels is None


def test_labels_are_found_by_the_images_they_belong_to(tmp_path):
    for index in range(3):
        write_image(tmp_path / f"{index}.png", np.full((8, 12, 3), 50 * index, np.uint8))
    write_flow(tmp_path / "true.flo", np.ones((8, 12, 2), np.float32))
    (tmp_path / "pairs.txt").write_text("0.png 1.png true.flo\n1.png 2.png other.flo\n")
    write_flow(tmp_path / "other.flo", np.ones((8, 12, 2), np.float32))
    valid = np.zeros((8, 12), bool)
    valid[:, 3:6] = True
    write_flow(tmp_path / "labels" / "1.png", np.full((8, 12, 2), 2.25, np.float32), valid)
    (tmp_path / "labels" / "pairs.txt").write_text(f"{tmp_path / '1.png'}\t{tmp_path / '2.png'}\t1.png\n")
    source = open_source("pairs", tmp_path, "labels")
    assert source[0].labels is None
    found = source[1].labels
    assert (found[2] > 0).numpy().tolist() == valid.tolist()
    assert (found[:2, :, 3:6] == 2.25).all()
    with pytest.raises(InputError, match="flowzoo distill"):
        open_source("pairs", tmp_path, "elsewhere")


def densities() -> FlowPrediction:
    logits, flows = [torch.randn(2, 81, 4, 8)], [torch.randn(2, 2, 4, 8)]
    details = {"logits": logits, "level_flows": flows, "network_size": (16, 32)}
    return FlowPrediction(flow=torch.randn(2, 2, 16, 32), pyramid=flows, details=details)


def test_equation_seven_with_densities():
    prediction, flow, valid = densities(), torch.randn(2, 2, 16, 32), torch.rand(2, 16, 32) < 0.5
    labels = torch.cat([torch.randn(2, 2, 16, 32), (torch.rand(2, 1, 16, 32) < 0.2).float()], dim=1)
    settings = LossSettings(loss="density", level_weights=(1.0,), max_pooling=0.3, distillation=0.8)
    supervised = density_loss(prediction, flow, valid, share=0.3)
    # Against labels: the mean over the pixels of the level that have any, which share=1 divides by all pixels.
    known = torch.nn.functional.max_pool2d(labels[:, 2:], 4)[:, 0]
    taught = density_loss(prediction, labels[:, :2], labels[:, 2]) / known.mean()
    found = make_loss(settings)(prediction, flow, valid, labels)
    torch.testing.assert_close(found, 0.8 * supervised + 0.2 * taught)
    torch.testing.assert_close(make_loss(settings)(prediction, flow, valid), supervised)


def test_equation_seven_with_a_multiscale_loss():
    prediction, flow, valid = densities(), torch.randn(2, 2, 16, 32), torch.ones(2, 16, 32, dtype=torch.bool)
    labels = torch.cat([torch.randn(2, 2, 16, 32), torch.ones(2, 1, 16, 32)], dim=1)
    settings = LossSettings(level_weights=(0.5,), distillation=0.9)
    plain = MultiscaleLoss(charbonnier(0.5, 0.01), (0.5,))
    expected = 0.9 * plain(prediction, flow) + 0.1 * plain(prediction, labels[:, :2])
    torch.testing.assert_close(make_loss(settings)(prediction, flow, valid, labels), expected)
    pooled = make_loss(dataclasses.replace(settings, max_pooling=0.1, reduction="mean"))
    assert pooled(prediction, flow, valid) > make_loss(dataclasses.replace(settings, reduction="mean"))(
        prediction, flow, valid
    )


def test_a_checkpoint_from_before_a_setting_existed_still_resumes():
    recipe = load_recipe("finetune")
    stored = json.loads(recipe.as_json())
    del stored["stages"][0]["max_pooling"]
    assert same_recipe(json.dumps(stored), recipe)
    assert not same_recipe(json.dumps(stored), load_recipe("finetune", {"max_pooling": "0.5"}))


@pytest.mark.parametrize(("key", "value"), [("max_pooling", 0.0), ("distillation", 1.5), ("reach", -1.0)])
def test_settings_out_of_range_are_named(key, value):
    with pytest.raises(InputError, match=key):
        LossSettings(**{key: value})
