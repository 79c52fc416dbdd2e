"""Pairs augmented a batch at a time are those that are augmented one by one."""

import dataclasses
from pathlib import Path

import pytest
import torch
from training_runs import CPU

from flowzoo.augmentation import Augmentation, AugmentationSettings, TrainingBatch, TrainingSample
from flowzoo.augmentation.planned import PlannedBatch, PlannedSample, augmented_batch, planned
from flowzoo.distributed import Ranks
from flowzoo.training.flow.augmenting import DeviceAugmenter, PairPool, Plans
from flowzoo.training.flow.mixture import AUGMENTATIONS, Mixture
from flowzoo.training.flow.settings import FlowSettings, PairSettings
from flowzoo.training.flow.task import FlowTask
from flowzoo.training.loader import batches
from flowzoo.training.recipe import Recipe
from flowzoo.training.stage import Stage
from flowzoo.training.task import Place

BLOCKS = torch.Generator().manual_seed(3)


def a_pair(*, sparse: bool = False, deep: bool = False) -> TrainingSample:
    """Smooth frames, flow in two surfaces, a hole in the ground truth."""
    small = torch.rand((2, 3, 9, 12), generator=BLOCKS)
    frames = torch.nn.functional.interpolate(small, (90, 120), mode="bicubic").clamp(0, 1)
    frames = frames.mul(65535).to(torch.uint16) if deep else frames.mul(255).to(torch.uint8)
    y, x = torch.meshgrid(torch.arange(90.0), torch.arange(120.0), indexing="ij")
    flow = torch.stack((0.05 * x - 2, 0.03 * y + 1))
    flow[:, 30:60, 40:80] += 9
    valid = torch.ones((90, 120), dtype=torch.bool)
    valid[70:, 100:] = False
    reverse = torch.cat((-flow, valid[None].float()))
    return TrainingSample(frames[0], frames[1], flow, valid, sparse, reverse=reverse)


def compared(settings: AugmentationSettings, pair: TrainingSample, samples: int = 12) -> list[dict[str, torch.Tensor]]:
    """Differences of every part of the batch from samples that are augmented one by one."""
    augmentation = Augmentation(settings, (64, 80), seed=4)
    parts = [PlannedSample(pair, augmentation.plan(pair, 0, number)) for number in range(samples)]
    batch = planned(parts)
    assert isinstance(batch, PlannedBatch)
    assert len(batch.pairs.first) == 1  # the pair travels once
    found = vars(augmented_batch(batch))
    alone = [vars(augmentation(pair, 0, number)) for number in range(samples)]
    names = "first", "second", "flow", "valid", "reverse"
    return [
        {name: (found[name][number].float() - one[name].float()).abs() for name in names}
        for number, one in enumerate(alone)
    ]


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"flownet2"}))
def test_a_batch_at_once_is_what_one_by_one_gives(name: str) -> None:
    for difference in compared(AUGMENTATIONS[name](), a_pair()):
        assert float(difference["first"].max()) < 1e-3
        assert float(difference["second"].mean()) < 1e-5  # a pixel on the border of an erased rectangle may differ
        for part in ("flow", "valid", "reverse"):
            assert float(difference[part].max()) < 1e-3


def test_sixteen_bits_and_erased_rectangles() -> None:
    settings = AugmentationSettings(eraser=1.0, eraser_size=(10, 30), noise=(0.01, 0.02), common_contrast=0.4)
    for difference in compared(settings, a_pair(deep=True)):
        assert float(difference["first"].max()) < 1e-3
        assert float(difference["second"].max()) < 1e-3


def test_what_a_device_cannot_do_at_once_is_done_one_by_one() -> None:
    """Scattered ground truth, colours in eigen-space, and pairs of several sizes."""
    plain, eigen = AugmentationSettings(), AugmentationSettings.flownet2()
    wide = a_pair()
    wide = TrainingSample(*(part[..., :100] for part in (wide.first, wide.second, wide.flow, wide.valid)))
    cases = [
        (plain, [a_pair(sparse=True)]),
        (eigen, [a_pair()]),
        (plain, [TrainingSample(*vars(a_pair()).values()), wide]),
    ]
    cases[2][1][0].reverse = None
    for settings, pairs in cases:
        augmentation = Augmentation(settings, (64, 80), seed=4)
        parts = [PlannedSample(pair, augmentation.plan(pair, 0, n)) for n, pair in enumerate(pairs)]
        batch = planned(parts)
        assert not isinstance(batch, PlannedBatch)
        alone = [augmentation(pair, 0, n) for n, pair in enumerate(pairs)]
        assert torch.equal(batch.first, torch.stack([sample.first for sample in alone]))
        assert torch.equal(batch.flow, torch.stack([sample.flow for sample in alone]))


def test_a_stage_that_augments_on_its_device_trains_on_the_same_samples(photographs: Path) -> None:
    def parts(augmenting: str, workers: int = 0) -> list[dict[str, torch.Tensor]]:
        pairs = PairSettings(
            ("scenes",), (64, 96), "synthetic", augmenting=augmenting, scene=(96, 128), repeats=3, both_directions=True
        )
        stage = Stage(steps=2, batch=4, task=FlowSettings(pairs))
        data = FlowTask(Recipe("", "", "wren", 0, (), (stage,)), Place(photographs)).data(stage, 5, CPU)
        return [vars(batch) for batch in batches(data, 0, stage, Ranks(), workers)]

    one_by_one, at_once = parts("loader"), parts("device")
    for expected, found in zip(one_by_one, at_once, strict=True):
        for name in ("first", "second", "flow", "valid", "reverse"):
            assert float((expected[name].float() - found[name].float()).abs().mean()) < 1e-4
    assert all(
        torch.equal(a["flow"], b["flow"]) for a, b in zip(at_once, parts("device", workers=1), strict=True)
    )  # whoever draws the plans


def test_samples_of_one_pair_share_it(photographs: Path) -> None:
    pairs = PairSettings(("scenes",), (64, 96), "synthetic", scene=(96, 128), repeats=3)
    samples = Plans(Mixture(pairs, photographs, 5))
    found = [samples[number] for number in range(4)]
    assert found[0].sample is found[2].sample
    assert found[3].sample is not found[0].sample
    assert found[0].sample.first.shape == (3, 96, 128)


def test_a_pool_mixes_the_last_pairs() -> None:
    """Every pair has a flow of its own, so that a sample tells which one it took."""
    settings, pool = AugmentationSettings(), PairPool(6, seed=0)
    augmentation = Augmentation(settings, (64, 80), seed=4)
    taken = []
    for step in range(5):
        parts = []
        for own in (2 * step, 2 * step + 1):
            pair = a_pair()
            pair.flow[:] = own
            parts += [PlannedSample(pair, augmentation.plan(pair, 0, 10 * own + n)) for n in range(8)]
        batch = planned(parts)
        assert isinstance(batch, PlannedBatch)
        found = DeviceAugmenter(CPU, pool)(batch)
        taken.append({int(flow.max()) for flow in found.flow})
    assert taken[0] == {0, 1}
    assert taken[2] <= {0, 1, 2, 3, 4, 5}
    assert taken[4] <= {4, 5, 6, 7, 8, 9}
    assert all(len(each) > 2 for each in taken[2:])
    deep = planned([PlannedSample(a_pair(deep=True), augmentation.plan(a_pair(deep=True), 0, 1))])
    assert isinstance(deep, PlannedBatch)
    assert pool.mixed(deep) is deep  # 16 bits do not fit among 8
    parts = {name: None if part is None else part[..., :70] for name, part in vars(batch.pairs).items()}
    small = dataclasses.replace(batch, pairs=TrainingBatch(**parts))
    assert pool.mixed(small) is small
