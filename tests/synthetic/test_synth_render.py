"""Rendered pairs: the flow explains the frames, masks are right, pairs depend on their number alone."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.synthetic import SceneSettings, SyntheticPairs, Textures, motion, render, transfer
from flowzoo.synthetic.effects import blurred
from flowzoo.synthetic.layers import build, outline, stack
from flowzoo.synthetic.motion import RESIDUAL, Waves, pixel_grid
from flowzoo.synthetic.render import RenderedPairs, composite
from flowzoo.synthetic.scene import LayerPlan, MotionPlan
from flowzoo.synthetic.settings import SCENES

CPU = torch.device("cpu")
CLEAN = SceneSettings(
    haze=0.0, shadow=0.0, brightness=0.0, noise=0.0, frame_blur=0.0, motion_blur=0.0, defocus=0.0, low_texture=0.0
)


@pytest.fixture(scope="module")
def textures() -> Textures:
    return Textures(None, procedural=8)


def sampled(image: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """image (B, C, H, W) at x + flow."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    target = torch.stack((x + flow[:, 0], y + flow[:, 1]), dim=-1)
    grid = (target + 0.5) * torch.tensor((2 / width, 2 / height)) - 1
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)


def directions(pairs: RenderedPairs):
    yield pairs.first, pairs.second, pairs.flow, pairs.backward_flow, ~pairs.occluded & pairs.valid
    back = ~pairs.backward_occluded & pairs.backward_valid
    yield pairs.second, pairs.first, pairs.backward_flow, pairs.flow, back


def test_flow_explains_the_frames_both_ways(textures):
    source = SyntheticPairs(textures, None, (120, 160), dataclasses.replace(CLEAN, calm=0.0), seed=5)
    ratios, controls = [], []
    for index in range(12):
        for here, there, flow, _, seen in directions(source.render([index])):
            still = (here - there).abs().mean(1)[seen].mean()
            warped = (sampled(there, flow) - here).abs().mean(1)[seen].mean()
            wrong = (sampled(there, -flow) - here).abs().mean(1)[seen].mean()
            ratios.append(float(warped / still))
            controls.append(float(wrong / still))
    assert np.median(ratios) < 0.35
    assert np.median(controls) > 0.9


def test_forward_and_backward_flow_cancel_where_both_see_the_point(textures):
    source = SyntheticPairs(textures, None, (120, 160), CLEAN, seed=6)
    for index in range(8):
        for _, _, flow, back, seen in directions(source.render([index])):
            residual = (flow + sampled(back, flow)).norm(dim=1)[seen]
            assert float(residual.median()) < 0.02


def square_scene(textures: Textures, shift: tuple[int, int], blur=(0.0, 0.0)) -> RenderedPairs:
    """A square of 21 px centred on pixel (40, 30) of the second frame, moving by whole pixels over a still ground."""
    size = (64, 96)
    place = np.array(((1.0, 0, 16.5), (0, 1.0, 16.5)))
    ground = LayerPlan("background", 0.1, True, (0.5, 0.5), (96.0, 128.0), place, MotionPlan())
    matrix = np.eye(3)
    matrix[:2, 2] = shift
    square = LayerPlan(
        "frame", 0.6, True, (0.5, 0.5), (24.0, 24.0), np.array(((1.0, 0, 12 - 40), (0, 1.0, 12 - 30))),
        MotionPlan(matrix), blur=blur, thickness=200.0,
    )  # fmt: skip
    layers = [stack([build(plan, textures, None, outline(plan))], size, whole=False) for plan in (ground, square)]
    return composite(layers, size)


def test_contrast_is_about_the_mean_and_fog_comes_last(textures):
    place = np.array(((1.0, 0, 0.5), (0, 1.0, 0.5)))
    plain = LayerPlan("background", 0.1, True, (0.5, 0.5), (64.0, 96.0), place, MotionPlan(), fine=1.0)
    gain, fog = (0.9, 0.8, 1.1), (0.6, 0.2, 0.4)
    changed = dataclasses.replace(plain, gain=gain, contrast=0.4, fog=fog, fog_share=0.25)
    grid = pixel_grid(0, 0, 64, 96, CPU)
    before, after = (
        stack([build(plan, textures, None, None)], (64, 96), whole=False).sample(grid, background=True)[0].double()
        for plan in (plain, changed)
    )
    mean = before[:, ::8, ::8].mean(dim=(1, 2), keepdim=True)  # of every eighth pixel
    tint, air = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (gain, fog))
    wanted = 0.75 * tint * (mean + 0.4 * (before - mean)) + 0.25 * air
    assert float((before - before.mean()).abs().max()) > 0.1
    assert torch.allclose(after, wanted, atol=1e-5)


@pytest.mark.parametrize("shift", [(0, 0), (7, 0), (-3, 5), (30, -12), (70, 0)])
def test_occlusion_of_a_moving_square_is_what_counting_pixels_says(textures, shift):
    pairs = square_scene(textures, shift)
    dx, dy = shift
    y, x = np.mgrid[:64, :96]
    second = (abs(x - 40) <= 11) & (abs(y - 30) <= 11)
    first = (abs(x - 40 + dx) <= 11) & (abs(y - 30 + dy) <= 11)
    flow = pairs.flow[0].numpy()
    if shift != (0, 0):
        assert np.array_equal((abs(flow - np.array(shift)[:, None, None]) < 1e-3).all(axis=0), first)
        assert np.array_equal((abs(flow) < 1e-3).all(axis=0), ~first)
    leaves = first & ((x + dx < 0) | (x + dx > 95) | (y + dy < 0) | (y + dy > 63))
    assert np.array_equal(pairs.occluded[0].numpy(), (~first & second) | leaves)
    comes = second & ((x - dx < 0) | (x - dx > 95) | (y - dy < 0) | (y - dy > 63))
    assert np.array_equal(pairs.backward_occluded[0].numpy(), (~second & first) | comes)
    assert bool(pairs.valid.all() and pairs.backward_valid.all())


def test_motion_blur_spreads_colour_but_not_flow(textures):
    sharp, smeared = square_scene(textures, (9, 0)), square_scene(textures, (9, 0), blur=(9.0, 0.0))
    assert torch.equal(sharp.flow, smeared.flow)
    changed = (sharp.second - smeared.second).abs().amax(dim=1)[0] > 0.02
    columns = changed.any(dim=0).nonzero()[:, 0]
    assert 24 <= int(columns.min()) < 28
    assert 52 < int(columns.max()) <= 56
    # a line average keeps the sum over a row that holds the whole square on both sides
    mean = sharp.second[0, :, 30, 20:61].mean(), smeared.second[0, :, 30, 20:61].mean()
    assert abs(float(mean[0] - mean[1])) < 0.05


def test_a_pair_depends_on_seed_and_number_alone(textures):
    source = SyntheticPairs(textures, None, (48, 64), seed=7)
    together = source.render([4, 9, 2], as_bytes=True)
    source.render([1])
    torch.manual_seed(99)
    np.random.seed(99)
    again = SyntheticPairs(Textures(None, procedural=8), None, (48, 64), seed=7)
    for row, index in enumerate((4, 9, 2)):
        alone = again.render([index], as_bytes=True)
        for name, values in vars(alone).items():
            assert torch.equal(values[0], getattr(together, name)[row]), name
    other = SyntheticPairs(textures, None, (48, 64), seed=8).render([4], as_bytes=True)
    assert not torch.equal(other.first[0], together.first[0])


def test_rendering_a_whole_batch_at_once_gives_the_same_pairs(textures):
    """The way of a GPU: all layers over whole frames, empty layers where a scene has fewer."""
    source = SyntheticPairs(textures, None, (48, 64), seed=7)
    alone = source.render(range(6))
    batch = source._render([source.scene(index) for index in range(6)], False)
    assert float((alone.flow - batch.flow).abs().max()) < 2e-3
    assert float((alone.backward_flow - batch.backward_flow).abs().quantile(0.999)) < 2e-3
    assert float((alone.first - batch.first).abs().mean()) < 1e-4
    assert float((alone.occluded ^ batch.occluded).float().mean()) < 1e-3


@pytest.mark.parametrize("name", [*SCENES, "dynamic"])
def test_what_a_device_does_differently_gives_the_same_pairs(textures, name, monkeypatch):
    """Tables in one float32 copy, nothing looked at on the way: here on the CPU, scenes of every kind."""
    settings = SceneSettings.dynamic() if name == "dynamic" else SCENES[name]()
    source = SyntheticPairs(textures, None, (96, 128), settings, seed=7)
    scenes = [source.scene(index) for index in range(4)]
    wanted = source._render(scenes, False)
    for module in (motion, render, transfer):
        monkeypatch.setattr(module, "costs_a_wait", lambda device: True)
    found = source._render(scenes, False)
    assert float((found.first - wanted.first).abs().mean()) < 1e-6
    assert float((found.second - wanted.second).abs().mean()) < 1e-6
    assert float((found.flow - wanted.flow).abs().max()) < 1e-4
    seen = found.backward_valid & wanted.backward_valid
    assert float((found.backward_flow - wanted.backward_flow).abs().amax(1)[seen].max()) < RESIDUAL
    for mask in ("occluded", "backward_occluded", "valid", "backward_valid"):
        assert float((getattr(found, mask) ^ getattr(wanted, mask)).float().mean()) < 1e-4, mask


def test_a_tree_moves_as_one_piece(monkeypatch):
    copies = []
    monkeypatch.setattr(transfer, "costs_a_wait", lambda device: True)
    monkeypatch.setattr(transfer, "moved", lambda tensor, device: (copies.append(tensor.dtype), tensor + 1)[1])
    waves = Waves(torch.zeros(1, 2, 2), torch.ones(1, 2, 2), torch.full((1, 2), 2.0))
    tree = [(waves, None), [torch.tensor([True, False])], "word"]
    (there, nothing), [flags], word = transfer.moved_together(tree, CPU)
    assert copies == [torch.float32]
    assert (nothing, word) == (None, "word")
    assert flags.tolist() == [2.0, 1.0]
    assert [float(part.mean()) for part in vars(there).values()] == [1.0, 2.0, 3.0]
    assert there.amplitude.shape == (1, 2, 2)
    assert float(waves.phase.mean()) == 2.0  # what is given stays
    assert transfer.moved_together([None, "nothing"], CPU) == [None, "nothing"]
    assert len(copies) == 1


def test_indexing_gives_training_samples(textures):
    source = SyntheticPairs(textures, None, (48, 64), seed=7, count=5)
    sample, pair = source[3], source.render([3], as_bytes=True)
    assert len(source) == 5
    assert torch.equal(sample.first, pair.first[0])
    assert torch.equal(sample.flow, pair.flow[0])
    assert not sample.sparse
    with pytest.raises(IndexError):
        source[5]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", [SceneSettings(), SceneSettings.dynamic()])
def test_a_gpu_renders_the_same_pairs(textures, settings):
    here = SyntheticPairs(textures, None, (96, 128), settings, seed=7).render(range(8))
    there = SyntheticPairs(textures, None, (96, 128), settings, seed=7, device="cuda").render(range(8)).to("cpu")
    assert float((here.flow - there.flow).abs().quantile(0.99)) < 5e-3
    assert float((here.first - there.first).abs().mean()) < 5e-3
    assert float((here.occluded ^ there.occluded).float().mean()) < 5e-3


def test_swap_exchanges_everything(textures):
    kept = SyntheticPairs(textures, None, (48, 64), dataclasses.replace(CLEAN, swap=0.0), seed=2).render([3])
    swapped = SyntheticPairs(textures, None, (48, 64), dataclasses.replace(CLEAN, swap=1.0), seed=2).render([3])
    assert torch.equal(kept.flow, swapped.backward_flow)
    assert torch.equal(kept.first, swapped.second)
    assert torch.equal(kept.occluded, swapped.backward_occluded)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (64, 200)])
def test_any_size_renders_finite_pairs_in_range(textures, size):
    source = SyntheticPairs(textures, None, size, SceneSettings(foreground=0.5), seed=1)
    pairs = source.render(range(6))
    assert pairs.first.shape == (6, 3, *size)
    for values in (pairs.first, pairs.second):
        assert float(values.min()) >= 0
        assert float(values.max()) <= 1
    assert bool(pairs.flow.isfinite().all() and pairs.backward_flow.isfinite().all())
    assert next(iter(source.batches(2, start=4))).flow.equal(pairs.flow[4:])


def test_motion_setting_scales_displacements(textures):
    small = SyntheticPairs(textures, None, (48, 64), SceneSettings(motion=0.05), seed=1).render(range(12))
    large = SyntheticPairs(textures, None, (48, 64), SceneSettings(motion=1.0), seed=1).render(range(12))
    assert float(small.flow.abs().mean()) < 0.2 * float(large.flow.abs().mean())
    none = SyntheticPairs(textures, None, (48, 64), SceneSettings(motion=0.0), seed=1).render(range(4))
    assert float(none.flow.abs().max()) < 1e-3


@pytest.mark.parametrize("share", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_static_pairs_are_of_the_stated_family(textures, share):
    settings = dataclasses.replace(SceneSettings.static(), matching=share, procedural=1.0)
    pairs = SyntheticPairs(textures, None, (60, 60), settings, seed=3).render(range(3))
    y, x = np.mgrid[:60, :60].astype(float)
    for flow in pairs.flow.double().numpy():
        u, v = x + flow[0], y + flow[1]
        if share[0]:
            columns = np.stack((x, y, np.ones_like(x)), axis=-1).reshape(-1, 3)
            _, residual, _, _ = np.linalg.lstsq(columns, np.stack((u, v), -1).reshape(-1, 2), rcond=None)
            assert residual.max() < 1e-3
        elif share[2]:
            # a homography keeps lines straight: cross product of three image points of a row
            a = np.stack((u[:, 30] - u[:, 0], v[:, 30] - v[:, 0]))
            b = np.stack((u[:, 59] - u[:, 0], v[:, 59] - v[:, 0]))
            assert np.abs(a[0] * b[1] - a[1] * b[0]).max() / np.hypot(*b).max() < 0.02
    for here, there, flow, _, seen in directions(pairs):
        still = (here - there).abs().mean(1)[seen].mean()
        assert float((sampled(there, flow) - here).abs().mean(1)[seen].mean()) < 0.5 * float(still)


def test_dynamic_pairs_have_an_object_in_about_four_of_five(textures):
    source = SyntheticPairs(textures, None, (48, 48), SceneSettings.dynamic(), seed=4)
    counts = [len(source.scene(index).layers) - 1 for index in range(300)]
    assert 0.72 < np.mean(counts) < 0.88
    assert max(counts) == 1


def test_gaussian_blur_agrees_with_scipy():
    from scipy.ndimage import gaussian_filter

    image = torch.rand(3, 20, 25)
    reference = np.stack([gaussian_filter(channel, 1.2, mode="nearest", truncate=2.5) for channel in image.numpy()])
    assert np.abs(blurred(image, 1.2).numpy() - reference).max() < 1e-5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"textures": "no/such/folder"}, "no folder"),
        ({"textures": None, "size": (4, 4)}, "cannot render"),
        ({"textures": None, "seed": -1}, "seed"),
        ({"textures": None, "cutouts": "no/such"}, "no folder"),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(InputError, match=words):
        SyntheticPairs(**arguments)


@pytest.mark.parametrize(
    "change",
    [{"haze": 1.5}, {"objects": (5, 2)}, {"size": (0.0, 1.0)}, {"motion": -1.0}, {"matching": (0.0, 0.0, 0.0)}],
)
def test_settings_out_of_range_are_named(change):
    with pytest.raises(InputError, match=next(iter(change))):
        SceneSettings(**change)
