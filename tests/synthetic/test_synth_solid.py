"""Solid scenes against casting rays at boxes and planes."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from flowzoo.synthetic import SceneSettings, SyntheticPairs, Textures
from flowzoo.synthetic.camera import Camera, box_faces, rotation
from flowzoo.synthetic.drawing import draw_scene
from flowzoo.synthetic.effects import air_of, finish
from flowzoo.synthetic.layers import build, outline, stack
from flowzoo.synthetic.render import RenderedPairs, composite
from flowzoo.synthetic.scene import LayerPlan, MotionPlan
from flowzoo.synthetic.settings import SCENES
from flowzoo.synthetic.solid import SolidDraw

CPU, SIZE = torch.device("cpu"), (72, 96)
BOX = np.array((0.15, -0.1, 2.0)), np.array((0.5, 0.3, 0.4)), rotation(np.array((0.3, 0.6, 0.2)))


@pytest.fixture(scope="module")
def textures() -> Textures:
    return Textures(None, procedural=8)


def camera(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> Camera:
    return Camera(90.0, np.array((50.0, 33.0)), rotation(np.array(angles)), np.array(shift))


def ground() -> LayerPlan:
    return LayerPlan("background", 0.1, True, (0.5, 0.5), (104.0, 128.0), np.array(((1.0, 0, 16), (0, 1.0, 16))),
                     MotionPlan())  # fmt: skip


def rendered_box(view: Camera, textures: Textures) -> RenderedPairs:
    """The box over a ground that stands still."""
    draw = SolidDraw(np.random.default_rng(0), SIZE, SceneSettings(motion_blur=0.0), cutouts=False)
    faces = box_faces(view, *BOX)
    plans = [ground(), *(draw.outlined(face.corners, face.matrix, 0.5) for face in faces)]
    return composite([stack([build(plan, textures, None, outline(plan))], SIZE, whole=False) for plan in plans], SIZE)


def hit(view: Camera, x: int, y: int) -> np.ndarray | None:
    """Where the ray of a pixel of the first frame enters the box: the method of slabs."""
    centre, sides, turned = BOX
    direction = turned.T @ np.array(((x - view.centre[0]) / view.focal, (y - view.centre[1]) / view.focal, 1.0))
    origin = -(turned.T @ centre)
    enter, leave = -math.inf, math.inf
    for axis in range(3):
        bounds = sorted((sign * sides[axis] - origin[axis]) / direction[axis] for sign in (-1, 1))
        enter, leave = max(enter, bounds[0]), min(leave, bounds[1])
    return None if enter > leave else turned @ (origin + enter * direction) + centre


@pytest.mark.parametrize(
    ("angles", "shift"),
    [((0, 0, 0), (0.3, 0, 0)), ((0.02, -0.05, 0.04), (0.1, 0.05, -0.5)), ((0, 0.1, 0), (-0.2, 0.1, 0.6))],
    ids=["sideways", "ahead and turning", "back and panning"],
)
def test_the_flow_of_a_box_is_that_of_rays(angles, shift, textures):
    view = camera(angles, shift)
    pairs = rendered_box(view, textures)
    on_box, errors = 0, []
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            point = hit(view, x, y)
            around = [hit(view, x + dx, y + dy) is not None for dx, dy in ((-2, 0), (2, 0), (0, -2), (0, 2))]
            if point is None or not all(around):
                assert point is not None or any(around) or not pairs.flow[0, :, y, x].any()
                continue
            later = view.rotation @ point + view.translation
            expected = later[:2] / later[2] * view.focal + view.centre - (x, y)
            errors.append(float(np.hypot(*(pairs.flow[0, :, y, x].numpy() - expected))))
            on_box += 1
    assert on_box > 300
    # a pixel at an edge between two sides may belong to either, and a seam shows what is behind
    assert np.quantile(errors, 0.95) < 0.01


def test_a_plane_moves_by_its_homography():
    rng, view = np.random.default_rng(3), camera((0.1, -0.2, 0.3), (0.4, -0.2, 0.1))
    normal = np.array((0.3, -0.2, 0.9))
    points = rng.uniform(-1, 1, (50, 3)) + np.array((0, 0, 3))
    points *= (2.5 / (points @ normal))[:, None]  # onto the plane
    before, after = view.projected(points), view.projected(view.moved(points))
    found = np.column_stack((before, np.ones(50))) @ view.of_plane(normal, 2.5).T
    np.testing.assert_allclose(found[:, :2] / found[:, 2:], after, atol=1e-9)
    far = np.column_stack((before, np.ones(50))) @ view.turn().T
    distant = view.projected(points / np.linalg.norm(points, axis=1)[:, None] * 1e9 @ view.rotation.T)
    np.testing.assert_allclose(far[:, :2] / far[:, 2:], distant, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_fog_takes_its_share_of_the_colour(share, textures):
    plan = ground()
    clear = composite([stack([build(plan, textures, None, outline(plan))], SIZE, whole=False)], SIZE)
    plan.fog, plan.fog_share = (0.7, 0.8, 0.9), share
    fogged = composite([stack([build(plan, textures, None, outline(plan))], SIZE, whole=False)], SIZE)
    expected = (1 - share) * clear.first + share * torch.tensor((0.7, 0.8, 0.9))[:, None, None]
    torch.testing.assert_close(fogged.first, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(fogged.flow, clear.flow)


def test_what_is_far_has_more_fog():
    scene = draw_scene(2, 0, SIZE, SceneSettings(fog=1.0, objects=(4, 4), foreground=0.0), cutouts=False)
    shares = [layer.fog_share for layer in scene.layers]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 5
    assert 0 < shares[-1] < shares[0] < 1


def test_low_light_is_dark_in_both_frames(textures):
    settings = SceneSettings(low_light=1.0, haze=0.0, shadow=0.0)
    for index in range(6):
        scene = draw_scene(4, index, SIZE, settings, cutouts=False)
        grey = torch.full((3, *SIZE), 0.8)
        for frame in finish(grey, grey, scene, air_of(scene, grey.shape[-2:])):
            assert 0.05 < float(frame.mean()) < 0.55
        assert all(plan.noise > 0 for plan in scene.frames)


def test_new_kinds_of_scenes_leave_the_others_as_they_were():
    """What is not asked for takes no random number."""
    plain = draw_scene(9, 3, SIZE, SceneSettings(), cutouts=False)
    fogged = draw_scene(9, 3, SIZE, SceneSettings(fog=1e-9, solid=1e-9, low_light=0.0), cutouts=False)
    assert (
        plain.layers[0].source == draw_scene(9, 3, SIZE, SceneSettings(low_light=1.0), cutouts=False).layers[0].source
    )
    assert fogged.layers[0].source != plain.layers[0].source  # a draw decided about solid scenes


@pytest.mark.parametrize("name", SCENES)
def test_flow_and_backward_flow_cancel_in_ready_made_scenes(name, textures):
    settings = dataclasses.replace(SCENES[name](), calm=0.0)
    source = SyntheticPairs(textures, None, SIZE, settings, seed=6)
    medians = []
    for index in range(8):
        pairs = source.render([index])
        seen = (~pairs.occluded & pairs.valid)[0]
        y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
        target = torch.stack((x, y), dim=-1) + pairs.flow[0].permute(1, 2, 0)
        grid = (target + 0.5) * torch.tensor((2 / SIZE[1], 2 / SIZE[0])) - 1
        back, nearest = (
            torch.nn.functional.grid_sample(pairs.backward_flow, grid[None], mode, "border", align_corners=False)
            for mode in ("bilinear", "nearest")
        )
        seen &= (back - nearest).norm(dim=1)[0] < 1  # away from edges, where neighbours move otherwise
        if int(seen.sum()) > 50:
            medians.append(float((pairs.flow + back).norm(dim=1)[0][seen].median()))
        assert pairs.flow.isfinite().all()
    assert len(medians) >= 6
    assert max(medians) < 0.05
