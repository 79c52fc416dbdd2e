"""Maps between the frames: against other formulas, and there and back."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from flowzoo.synthetic import SceneSettings
from flowzoo.synthetic.drawing import draw_scene
from flowzoo.synthetic.geometric import four_point
from flowzoo.synthetic.layers import motion_of
from flowzoo.synthetic.motion import Drive, ThinPlate, Waves, pixel_grid
from flowzoo.synthetic.varied import homography

CPU = torch.device("cpu")


def points_of(coordinates: np.ndarray) -> torch.Tensor:
    """(N, 2) -> (1, 2, 1, N)."""
    return torch.tensor(coordinates.T[None, :, None], dtype=torch.float32)


def test_pixel_grid_counts_from_its_corner():
    grid = pixel_grid(3, 5, 2, 4, CPU)
    assert grid.shape == (1, 2, 2, 4)
    assert grid[0, :, 1, 2].tolist() == [7.0, 4.0]


@pytest.mark.parametrize("kind", ["varied", "dynamic"])
def test_every_drawn_motion_comes_back_to_its_pixel(kind):
    size, worst = (96, 128), 0.0
    settings = SceneSettings(kind=kind, calm=0.1, smooth=0.8)
    for index in range(25):
        for layer in draw_scene(3, index, size, settings, cutouts=False).layers:
            motion = motion_of([layer.motion])
            back, exists = motion.inverse(0, 0, *size)
            there, _ = motion.forward(back)
            missed = (there - pixel_grid(0, 0, *size, CPU)).abs().amax(dim=1)
            if kind == "varied":
                assert bool(exists.all())
            worst = max(worst, float(missed[exists].max()) if bool(exists.any()) else 0.0)
    assert worst < 1e-3


def test_inverse_of_a_window_is_a_part_of_the_whole():
    plan = draw_scene(1, 3, (96, 128), SceneSettings(smooth=1.0, calm=0.0), cutouts=False).layers[0].motion
    motion = motion_of([plan])
    whole, _ = motion.inverse(0, 0, 96, 128)
    part, _ = motion.inverse(20, 33, 31, 45)
    assert torch.allclose(part, whole[:, :, 20:51, 33:78], atol=2e-3)


def test_drive_is_a_pinhole_camera_moving_over_a_plane_and_between_walls():
    focal, centre, step = 200.0, np.array((64.0, 40.0)), 0.8  # metres along the axis
    height, left, right, far = 1.5, 2.0, 3.0, 60.0
    rng = np.random.default_rng(0)
    depth = rng.uniform(6, 40, 300)
    ground = np.stack((rng.uniform(-left, right, 300) * 0.9, np.full(300, height), depth), axis=1)
    wall = np.stack((np.full(300, right), rng.uniform(-2, height, 300) * 0.9, depth), axis=1)
    other = np.stack((np.full(300, -left), rng.uniform(-2, height, 300) * 0.9, depth), axis=1)
    sky = np.stack((rng.uniform(-1, 1, 300), rng.uniform(-3, 0, 300), np.full(300, far)), axis=1)
    scene = np.concatenate((ground, wall, other, sky))

    def project(points: np.ndarray) -> np.ndarray:
        return centre + focal * points[:, :2] / points[:, 2:]

    # (x - focus) q with q = step / depth; on the ground depth = focal * height / (y - focus)
    slopes = step / focal / np.array((height, left, right))
    drive = Drive(
        torch.tensor(centre[None], dtype=torch.float32),
        torch.tensor([step / far]),
        torch.tensor(slopes[None], dtype=torch.float32),
        torch.tensor([1.0]),
    )
    before, after = project(scene), project(scene - np.array((0, 0, step)))
    moved = drive.forward(points_of(before))[0, :, 0].numpy().T
    assert np.abs(moved - after).max() < 1e-2
    assert np.hypot(*(after - before).T).max() > 5
    back, exists = drive.inverse(points_of(after))
    assert bool(exists.all())
    assert np.abs(back[0, :, 0].numpy().T - before).max() < 1e-2


def test_backward_drive_has_no_source_for_points_from_behind_the_camera():
    drive = Drive(torch.zeros(1, 2), torch.zeros(1), torch.tensor([[0.1, 0.0, 0.0]]), torch.tensor([-1.0]))
    _, exists = drive.inverse(points_of(np.array(((1.0, 5.0), (1.0, 15.0)))))
    assert exists[0, 0].tolist() == [True, False]


def test_thin_plate_is_the_spline_of_scipy():
    rng = np.random.default_rng(1)
    knots = rng.uniform(0, 200, (9, 2))
    moved = rng.normal(0, 10, (9, 2))
    places = rng.uniform(-30, 230, (200, 2))
    reference = RBFInterpolator(knots, moved, kernel="thin_plate_spline", degree=1)(places)
    spline = ThinPlate.through(torch.tensor(knots[None]), torch.tensor(moved[None]))
    assert np.abs(spline.displacement(points_of(places))[0, :, 0].numpy().T - reference).max() < 5e-3


@pytest.mark.parametrize("kind", ["waves", "spline"])
def test_slopes_are_those_of_finite_differences(kind):
    rng = np.random.default_rng(2)
    if kind == "waves":
        table = torch.tensor(rng.normal(0, 1, (1, 3, 5)), dtype=torch.float32)
        field = Waves(table[:, :, :2] * 3, table[:, :, 2:4] * 0.05, table[:, :, 4])
    else:
        field = ThinPlate.through(
            torch.tensor(rng.uniform(0, 100, (1, 6, 2))), torch.tensor(rng.normal(0, 4, (1, 6, 2)))
        )
    places = points_of(rng.uniform(5, 95, (100, 2)))
    displacement, slopes = field.linearised(places)
    assert torch.allclose(displacement, field.displacement(places), atol=1e-4)
    for axis in range(2):
        step = torch.zeros(1, 2, 1, 1)
        step[0, axis] = 0.25
        difference = (field.displacement(places + step) - field.displacement(places - step)) / 0.5
        for component in range(2):
            assert torch.allclose(slopes[2 * component + axis], difference[:, component], atol=5e-3)


def test_a_fold_has_no_inverse():
    """A wave steeper than 1 maps three points to one: some pixels find no unique source, and say so."""
    field = Waves(torch.tensor([[[40.0, 0.0]]]), torch.tensor([[[0.1, 0.0]]]), torch.zeros(1, 1))
    motion = motion_of([draw_scene(0, 0, (32, 32), SceneSettings(), cutouts=False).layers[0].motion])
    motion.matrix = motion.inverse_matrix = torch.eye(3)[None]
    motion.field, motion.drive = field, None
    back, exists = motion.inverse(0, 0, 64, 256)
    there, _ = motion.forward(back)
    missed = (there - pixel_grid(0, 0, 64, 256, CPU)).abs().amax(dim=1)
    assert float(missed[exists].max()) < 1e-3


def test_homography_has_the_asked_value_and_derivative_at_its_centre():
    linear, centre = np.array(((1.1, 0.2), (-0.1, 0.9))), np.array((30.0, 40.0))
    matrix = homography(linear, centre, centre + np.array((5, -3)), np.array((1e-3, -2e-3)))

    def at(point: np.ndarray) -> np.ndarray:
        x, y, w = matrix @ np.append(point, 1)
        return np.array((x / w, y / w))

    assert np.allclose(at(centre), centre + np.array((5, -3)))
    for axis in range(2):
        step = np.eye(2)[axis] * 1e-4
        assert np.allclose((at(centre + step) - at(centre - step)) / 2e-4, linear[:, axis], atol=1e-6)


def test_four_point_homography_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(3)
    before = np.array(((0, 0), (100, 0), (0, 100), (100, 100))) + rng.uniform(-20, 20, (4, 2))
    after = before + rng.uniform(-20, 20, (4, 2))
    reference = cv2.getPerspectiveTransform(before.astype(np.float32), after.astype(np.float32))
    assert np.allclose(four_point(before, after), reference, atol=1e-4)
