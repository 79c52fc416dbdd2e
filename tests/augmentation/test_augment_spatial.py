"""Flow stays exact under every spatial change."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flowzoo.augmentation import Augmentation, AugmentationSettings, TrainingSample, collate
from flowzoo.augmentation.spatial import SpatialPlan, draw_spatial, transform
from flowzoo.errors import InputError

SIZE, CROP = (70, 90), (48, 64)
WILD = AugmentationSettings(
    zoom=(0.8, 1.6), squeeze=1.2, rotation=20.0, horizontal_flip=0.5, vertical_flip=0.5,
    relative_translation=0.03, relative_zoom=0.04, relative_rotation=2.0,
)  # fmt: skip
MATRIX, SHIFT = np.array(((0.05, -0.03), (0.04, -0.06))), np.array((3.0, -2.0))


def picture(x, y):
    """A smooth picture over the whole plane, three channels."""
    return np.stack([0.5 + 0.4 * np.sin(0.21 * x + 0.13 * y + k) * np.cos(0.17 * y - 0.08 * x) for k in range(3)])


def affine_sample(sparse=False) -> TrainingSample:
    """The second frame is `picture`, the first shows it at x + MATRIX x + SHIFT."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    flow = np.einsum("ij,jhw->ihw", MATRIX, np.stack((x, y))) + SHIFT[:, None, None]
    first, second = picture(x + flow[0], y + flow[1]), picture(x, y)
    return TrainingSample(
        torch.tensor(first, dtype=torch.float32),
        torch.tensor(second, dtype=torch.float32),
        torch.tensor(flow, dtype=torch.float32),
        torch.ones(SIZE, dtype=torch.bool),
        sparse,
    )


def plans(count=12, settings=WILD):
    for seed in range(count):
        yield draw_spatial(np.random.default_rng(seed), settings, SIZE, CROP)


def at(matrix, points):
    """Affine (3, 3) of points (2, ...)."""
    return np.einsum("ij,j...->i...", matrix[:2, :2], points) + matrix[:2, 2].reshape(2, *[1] * (points.ndim - 1))


def test_flow_is_the_composition_of_the_maps():
    y, x = np.mgrid[: CROP[0], : CROP[1]].astype(float)
    p = np.stack((x, y))
    for plan in plans():
        result = transform(affine_sample(), plan)
        source = at(plan.first, p)
        moved = source + np.einsum("ij,jhw->ihw", MATRIX, source) + SHIFT[:, None, None]
        wanted = np.linalg.solve(plan.second, np.concatenate((moved.reshape(2, -1), np.ones((1, moved[0].size)))))
        wanted = wanted[:2].reshape(moved.shape) - p
        assert result.valid.float().mean() > 0.99
        error = np.abs(result.flow.numpy() - wanted).max(axis=0)[result.valid.numpy()]
        assert error.max() < 2e-3


def test_second_frame_at_the_new_flow_is_the_first_frame():
    for plan in plans():
        result = transform(affine_sample(), plan)
        y, x = np.mgrid[: CROP[0], : CROP[1]]
        target = torch.tensor(np.stack((x, y), -1)) + result.flow.permute(1, 2, 0)
        grid = (target.float() + 0.5) * torch.tensor((2 / CROP[1], 2 / CROP[0])) - 1
        found = F.grid_sample(result.second[None], grid[None], mode="bicubic", align_corners=False)[0]
        inside = (grid.abs() < 0.9).all(dim=-1)
        # away from the border of the source, where replicated pixels show
        source = at(plan.second, at(np.eye(3), np.moveaxis(target.numpy(), -1, 0)))
        limits = np.array((SIZE[1], SIZE[0])).reshape(2, 1, 1) - 3
        inside &= torch.tensor(((source > 2) & (source < limits)).all(axis=0))
        error = (found - result.first).abs().amax(dim=0)[inside]
        assert int(inside.sum()) > 500
        assert float(error.max()) < 0.03


def test_first_frame_always_shows_the_source():
    corners = np.array(((0, CROP[1] - 1, 0, CROP[1] - 1), (0, 0, CROP[0] - 1, CROP[0] - 1)), dtype=float)
    limit = np.array((SIZE[1] - 1, SIZE[0] - 1))[:, None]
    for plan in plans(100):
        seen = at(plan.first, corners)
        assert (seen > -1e-6).all()
        assert (seen < limit + 1e-6).all()


def test_plain_crops_and_flips_copy_pixels():
    generator = torch.Generator().manual_seed(1)
    sample = TrainingSample(
        torch.rand(3, *SIZE, generator=generator),
        torch.rand(3, *SIZE, generator=generator),
        torch.randn(2, *SIZE, generator=generator) * 5,
        torch.rand(SIZE, generator=generator) > 0.3,
    )
    settings = AugmentationSettings(horizontal_flip=0.5, vertical_flip=0.5)
    seen = set()
    for plan in plans(30, settings):
        assert plan.plain
        signs = plan.first[0, 0], plan.first[1, 1]
        seen.add(signs)
        result = transform(sample, plan)
        for row, column in ((0, 0), (5, 60), (47, 3), (20, 31)):
            x, y = (int(value) for value in at(plan.first, np.array((column, row), dtype=float)))
            assert torch.equal(result.first[:, row, column], sample.first[:, y, x])
            assert torch.equal(result.second[:, row, column], sample.second[:, y, x])
            assert result.valid[row, column] == sample.valid[y, x]
            wanted = sample.flow[:, y, x] * torch.tensor(signs) if sample.valid[y, x] else torch.zeros(2)
            assert torch.allclose(result.flow[:, row, column], wanted.float())
    assert len(seen) == 4


def test_motion_edges_are_not_blended():
    sample = affine_sample()
    sample.flow[:] = torch.tensor((1.0, 0.0))[:, None, None]
    sample.flow[:, 20:45, 30:60] = torch.tensor((-9.0, 4.0))[:, None, None]
    settings = dataclasses.replace(WILD, relative_translation=0.0, relative_zoom=0.0, relative_rotation=0.0)
    for plan in plans(8, settings):
        result = transform(sample, plan)
        turned = np.linalg.inv(plan.first)[:2, :2] @ np.array(((1.0, -9.0), (0.0, 4.0)))
        distance = np.abs(result.flow.numpy()[:, None] - turned[:, :, None, None]).max(axis=0).min(axis=0)
        assert distance.max() < 1e-3


@pytest.mark.parametrize("hole", [float("nan"), 1e9, -7.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_unknown_flow_leaks_nowhere(hole, sparse):
    sample = affine_sample(sparse)
    known = torch.rand(SIZE, generator=torch.Generator().manual_seed(3)) > (0.8 if sparse else 0.1)
    sample.flow[:, ~known] = hole
    sample.valid = known
    full = affine_sample()
    for plan in plans(8):
        result, wanted = transform(sample, plan), transform(full, plan)
        assert bool(result.flow.isfinite().all())
        assert bool((result.flow[:, ~result.valid] == 0).all())
        error = (result.flow - wanted.flow).abs().amax(dim=0)[result.valid & wanted.valid]
        # the flow of a pixel up to half a source pixel away (the first map enlarges by up to 1.25 * 1.2)
        assert float(error.max()) < 0.3
        assert 0.02 < float(result.valid.float().mean()) < 1


def test_sparse_pixels_land_where_their_own_point_goes():
    sample = affine_sample(sparse=True)
    keep = torch.zeros(SIZE, dtype=torch.bool)
    keep[30, 40] = keep[35, 52] = keep[25, 33] = True
    sample.valid = keep
    for plan in plans(10):
        result = transform(sample, plan)
        expected = {}
        for row, column in keep.nonzero().tolist():
            point = np.array((column, row), dtype=float)
            end = point + sample.flow[:, row, column].numpy()
            start, stop = (
                np.linalg.solve(m, np.append(q, 1.0))[:2] for m, q in ((plan.first, point), (plan.second, end))
            )
            cell = tuple(np.floor(start + 0.5).astype(int)[::-1])
            if 0 <= cell[0] < CROP[0] and 0 <= cell[1] < CROP[1]:
                expected[cell] = stop - start
        assert set(map(tuple, result.valid.nonzero().tolist())) == set(expected)
        for cell, flow in expected.items():
            assert np.allclose(result.flow[:, cell[0], cell[1]].numpy(), flow, atol=1e-4)


def test_of_points_that_meet_the_one_nearest_the_centre_stays():
    sample = affine_sample(sparse=True)
    sample.valid[:] = True
    half = np.diag((2.0, 2.0, 1.0))
    half[:2, 2] = (
        0.2,
        0.3,
    )  # crop pixel p shows source 2 p + (0.2, 0.3): of its four pixels, the even ones are nearest
    result = transform(sample, SpatialPlan(half, half, (20, 30)))
    y, x = np.mgrid[:20, :30] * 2
    assert bool(result.valid.all())
    assert np.allclose(result.flow.numpy() * 2, sample.flow[:, y, x].numpy(), atol=1e-4)


def test_pixels_beyond_the_source_are_not_valid():
    shift = np.eye(3)
    shift[:2, 2] = (-10.25, 0.0)
    result = transform(affine_sample(), SpatialPlan(shift, shift, CROP))
    assert not bool(result.valid[:, :10].any())
    assert bool(result.valid[:, 10:].all())


def test_translation_limit_keeps_crops_near_the_centre():
    settings = AugmentationSettings(translation=0.05)
    for plan in plans(50, settings):
        middle = at(plan.first, np.array(((CROP[1] - 1) / 2, (CROP[0] - 1) / 2)))
        offset = np.abs(middle - np.array(((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2)))
        assert (offset <= 0.05 * np.array((CROP[1], CROP[0])) + 0.51).all()


def test_reproducible_by_seed_epoch_and_index_alone():
    settings = dataclasses.replace(WILD, common_gain=0.3, own_gamma=(0.8, 1.2), noise=(0.0, 0.05), eraser=0.5)
    augment, sample = Augmentation(settings, CROP, seed=4), affine_sample()
    one = augment(sample, 2, 17)
    torch.rand(5)
    np.random.rand(5)
    augment(sample, 0, 0)
    same = Augmentation(settings, CROP, seed=4)(affine_sample(), 2, 17)
    for name in ("first", "second", "flow", "valid"):
        assert torch.equal(getattr(one, name), getattr(same, name))
    for other in (augment(sample, 3, 17), augment(sample, 2, 18), Augmentation(settings, CROP, seed=5)(sample, 2, 17)):
        assert not torch.equal(one.first, other.first)


def test_strength_scales_the_relative_motion():
    sample = affine_sample()
    sample.flow[:] = 0
    sample.second = sample.first
    settings = AugmentationSettings(relative_translation=0.1, relative_rotation=3.0)
    none, half, full = (Augmentation(settings, CROP)(sample, 0, 1, strength=s).flow for s in (0.0, 0.5, 1.0))
    assert float(none.abs().max()) == 0
    assert 0.4 < float(half.abs().mean() / full.abs().mean()) < 0.6


@pytest.mark.parametrize("name", ["flownet2", "chairs", "sintel", "kitti", "synthetic"])
def test_named_settings_give_finite_samples_in_range(name):
    augment = Augmentation(getattr(AugmentationSettings, name)(), CROP)
    batch = collate([augment(affine_sample(), 0, index) for index in range(4)])
    assert batch.first.shape == (4, 3, *CROP)
    assert batch.flow.shape == (4, 2, *CROP)
    assert batch.valid.shape == (4, *CROP)
    for frames in (batch.first, batch.second):
        assert bool(frames.isfinite().all())
        assert float(frames.min()) >= 0
        assert float(frames.max()) <= 1
    assert bool(batch.flow.isfinite().all())


def test_a_crop_that_does_not_fit_is_named():
    with pytest.raises(InputError, match="100x64"):
        Augmentation(AugmentationSettings(), (64, 100))(affine_sample(), 0, 0)


def test_parts_of_different_size_are_named():
    sample = affine_sample()
    sample.second = sample.second[:, :-1]
    with pytest.raises(InputError, match="differ in size"):
        Augmentation(AugmentationSettings(), CROP)(sample, 0, 0)


@pytest.mark.parametrize(
    "change", [{"spatial": 2.0}, {"zoom": (1.5, 1.0)}, {"squeeze": 0.5}, {"common_hue": -1.0}, {"noise": (-1.0, 0.0)}]
)
def test_settings_out_of_range_are_named(change):
    with pytest.raises(InputError, match=next(iter(change))):
        AugmentationSettings(**change)
