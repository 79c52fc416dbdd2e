"""Pictures of flow against flow_vis, against the definition of KITTI's error colours, and by what they must show."""

import json
import math
from pathlib import Path

import flow_vis
import numpy as np
import pytest

from flowzoo.errors import InputError
from flowzoo.files.flow import read_flow
from flowzoo.visualise import (
    RunningScale,
    colour_wheel,
    error_picture,
    flow_picture,
    flow_scale,
)

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@pytest.fixture
def flow() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 5, (70, 90, 2)).astype(np.float32)


def test_colours_are_those_of_flow_vis(flow: np.ndarray) -> None:
    ours = flow_picture(flow)
    assert ours.dtype == np.uint8
    theirs = flow_vis.flow_to_color(flow)
    # The strength is divided out a millionth differently, which may flip a rounding down.
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.001


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300000), (300000, 1), (400, 700)])
def test_strips_join_without_a_seam(height: int, width: int) -> None:
    flow = np.random.default_rng(0).normal(0, 5, (height, width, 2)).astype(np.float32)
    ours = flow_picture(flow, max_flow=20)
    theirs = flow_vis.flow_uv_to_colors(flow[..., 0] / 20, flow[..., 1] / 20)
    assert ours.shape == (height, width, 3)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_directions_and_lengths() -> None:
    vectors = [[0, 0], [10, 0], [0, 10], [-10, 0], [0, -10], [5, 0], [1000, 0]]
    still, right, down, left, up, half, beyond = flow_picture(np.array([vectors], float), max_flow=10)[0].astype(int)
    assert tuple(still) == WHITE
    assert right[0] >= 250
    assert max(right[1], right[2]) < 40
    assert min(down[0], down[1]) > 200
    assert down[2] < 5
    assert left[0] < 5
    assert min(left[1], left[2]) > 200
    assert up[2] >= 250
    assert max(up[0], up[1]) < 100
    np.testing.assert_allclose(half, (255 + right) / 2, atol=2)
    np.testing.assert_allclose(beyond, 0.75 * right, atol=2)


@pytest.mark.parametrize("size", [1e-3, 1.0, 777.7, 1e6, 9e8])
def test_the_longest_vector_itself_is_not_out_of_range(size: float) -> None:
    angles = np.linspace(0, 2 * math.pi, 400)
    circle = (size * np.stack([np.cos(angles), np.sin(angles)], axis=1)[None]).astype(np.float32)
    for picture in (flow_picture(circle), flow_picture(circle, max_flow=float(np.hypot(*circle[0].T).max()))):
        assert picture.max(axis=2).min() > 0.95 * 255


def test_one_scale_gives_one_colour_in_every_frame(flow: np.ndarray) -> None:
    other = flow.copy()
    other[0, 0] = 500
    np.testing.assert_array_equal(flow_picture(flow, max_flow=20)[1:], flow_picture(other, max_flow=20)[1:])
    assert (flow_picture(flow)[1:] != flow_picture(other)[1:]).any()


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf, 1.7e9, 3e38])
def test_unknown_pixels_are_black_and_change_nothing_else(
    flow: np.ndarray, unknown: float, recwarn: pytest.WarningsRecorder
) -> None:
    expected = flow_picture(flow, max_flow=flow_scale(flow[1:], percentile=100))
    damaged = flow.copy()
    damaged[0, :, 1] = unknown
    for picture in (flow_picture(damaged), flow_picture(damaged, np.ones(flow.shape[:2], bool))):
        assert (picture[0] == BLACK).all()
        np.testing.assert_array_equal(picture[1:], expected[1:])
    assert not list(recwarn)


def test_the_mask_is_shown_and_black_means_nothing_else(flow: np.ndarray) -> None:
    valid = np.random.default_rng(1).random(flow.shape[:2]) > 0.5
    for max_flow in (None, 1.0):
        black = (flow_picture(flow, valid, max_flow=max_flow) == BLACK).all(axis=2)
        np.testing.assert_array_equal(black, ~valid)


def test_flow_that_is_nowhere_or_known_nowhere() -> None:
    assert (flow_picture(np.zeros((3, 4, 2))) == WHITE).all()
    assert (flow_picture(np.full((3, 4, 2), np.nan)) == BLACK).all()
    assert flow_picture(np.zeros((0, 4, 2))).shape == (0, 4, 3)
    assert flow_scale(np.full((3, 4, 2), np.nan)) == 0
    assert flow_scale(np.zeros((0, 4, 2))) == 0


def test_the_flow_given_is_not_changed(flow: np.ndarray) -> None:
    flow[0, 0] = np.nan
    before, valid = flow.copy(), np.ones(flow.shape[:2], bool)
    flow_picture(flow, valid, legend=True)
    error_picture(flow, flow, valid)
    np.testing.assert_array_equal(flow, before)
    assert valid.all()


def test_the_scale_is_a_percentile_of_lengths(flow: np.ndarray) -> None:
    lengths = np.sort([math.hypot(u, v) for u, v in flow.reshape(-1, 2).tolist()])
    assert flow_scale(flow, percentile=100) == pytest.approx(lengths[-1], rel=1e-6)
    assert flow_scale(flow) == pytest.approx(
        np.interp(0.99 * (len(lengths) - 1), range(len(lengths)), lengths), rel=1e-5
    )
    flow[0, 0] = 1e6
    valid = np.ones(flow.shape[:2], bool)
    valid[0, 0] = False
    assert flow_scale(flow, percentile=100) > 1e6
    assert flow_scale(flow, valid, percentile=100) < 100


def test_the_running_scale_neither_flickers_nor_stays_behind() -> None:
    scale = RunningScale(rate=0.05)
    steady = np.full((4, 5, 2), [8.0, 0.0])
    assert scale.update(steady) == pytest.approx(8)
    wild = scale.update(steady * 10)
    assert 8 < wild < 8 * 1.15
    for _ in range(200):
        last = scale.update(steady * 10)
    assert last == pytest.approx(80, rel=0.01)
    assert RunningScale().update(steady * 0) == 1
    assert RunningScale(smallest=0.1).update(steady * np.nan) == pytest.approx(0.1)
    for wrong in ({"rate": 0}, {"rate": 1.5}, {"smallest": 0}):
        with pytest.raises(InputError):
            RunningScale(**wrong)


def test_the_wheel_shows_where_each_colour_points() -> None:
    wheel, inside = colour_wheel(101)
    assert tuple(wheel[50, 50]) == WHITE
    for row, column, vector in ((50, 95, (1, 0)), (95, 50, (0, 1)), (20, 20, (-1, -1))):
        length = math.hypot(row - 50, column - 50) / 50.5
        unit = np.array(vector) / np.hypot(*vector) * length
        expected = flow_picture(unit.reshape(1, 1, 2), max_flow=1)[0, 0]
        np.testing.assert_allclose(wheel[row, column].astype(int), expected, atol=2)
    assert not inside[0, 0]
    assert inside.mean() == pytest.approx(math.pi / 4, abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 900), (900, 64), (436, 1024)])
def test_the_legend_stays_in_its_corner(height: int, width: int) -> None:
    flow = np.ones((height, width, 2), np.float32)
    plain, with_legend = flow_picture(flow, max_flow=12.3), flow_picture(flow, max_flow=12.3, legend=True)
    changed = (plain != with_legend).any(axis=2)
    assert changed[height // 2 :, -(min(height, width) // 4) :].any()
    assert not changed[: height // 2].any()
    assert not changed[:, : width // 4].any()
    # The number is part of the picture.
    assert (with_legend != flow_picture(flow * 4, max_flow=49.2, legend=True)).any()


def test_bad_arguments(flow: np.ndarray) -> None:
    for call, said in (
        (lambda: flow_picture(flow[..., 0]), "expected"),
        (lambda: flow_picture(flow, np.ones((2, 2))), r"valid has shape \(2, 2\)"),
        (lambda: flow_picture(flow, max_flow=0), "max_flow is 0"),
        (lambda: flow_picture(flow, max_flow=float("nan")), "max_flow is nan"),
        (lambda: flow_picture(flow[:20], legend=True), "at least 64x64 pixels, this is 90x20"),
        (lambda: error_picture(flow[1:], flow), "compare equal sizes"),
        (lambda: error_picture(flow, flow, occluded=np.ones((2, 2))), "occluded has shape"),
    ):
        with pytest.raises(InputError, match=said):
            call()


def kit_colour(estimate: list[float], truth: list[float]) -> tuple[int, int, int]:
    """KITTI's rule for one pixel: classes double from 1/16 to 16 times the outlier threshold (3 px and 5 %)."""
    table = [
        *((0.0625, (49, 54, 149)), (0.125, (69, 117, 180)), (0.25, (116, 173, 209)), (0.5, (171, 217, 233))),
        *((1, (224, 243, 248)), (2, (254, 224, 144)), (4, (253, 174, 97)), (8, (244, 109, 67))),
        *((16, (215, 48, 39)), (math.inf, (165, 0, 38))),
    ]
    error = math.dist(estimate, truth)
    length = math.hypot(*truth)
    unit = error / 3 if length == 0 else min(error / 3, 20 * error / length)
    return next(colour for limit, colour in table if unit < limit)


def test_error_colours_of_the_kit() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.normal(0, 1, (30, 40, 2)) * rng.choice([0, 1, 30, 300], (30, 40, 1))).astype(np.float32)
    flow = truth + (rng.normal(0, 1, truth.shape) * 10.0 ** rng.uniform(-2, 2, (30, 40, 1))).astype(np.float32)
    flow[0, 0] = truth[0, 0] = 0
    expected = [
        kit_colour(*pair) for pair in zip(flow.reshape(-1, 2).tolist(), truth.reshape(-1, 2).tolist(), strict=True)
    ]
    assert len(set(expected)) == 10
    np.testing.assert_array_equal(error_picture(flow, truth).reshape(-1, 3), expected)


def test_errors_without_truth_or_without_an_estimate(recwarn: pytest.WarningsRecorder) -> None:
    truth = np.zeros((1, 4, 2), np.float32)
    flow = truth.copy()
    flow[0, 1], truth[0, 2], flow[0, 3] = np.nan, np.inf, 1e30
    picture = error_picture(flow, truth, np.array([[True, True, True, False]]))
    assert [tuple(pixel) for pixel in picture[0].tolist()] == [(49, 54, 149), (165, 0, 38), BLACK, BLACK]
    halved = error_picture(flow, truth, occluded=np.array([[True, True, False, False]]))
    assert [tuple(pixel) for pixel in halved[0].tolist()] == [(24, 27, 74), (82, 0, 19), BLACK, (165, 0, 38)]
    assert not list(recwarn)


def test_spreading_fills_the_eight_neighbours_only() -> None:
    truth = np.full((7, 9, 2), np.nan, np.float32)
    truth[3, 4], truth[0, 0] = 0, 0
    picture = error_picture(np.zeros_like(truth), truth, spread=True)
    filled = (picture != BLACK).any(axis=2)
    expected = np.zeros((7, 9), bool)
    expected[2:5, 3:6] = expected[:2, :2] = True
    np.testing.assert_array_equal(filled, expected)
    dense = error_picture(np.ones((4, 5, 2)), np.zeros((4, 5, 2)), spread=True)
    np.testing.assert_array_equal(dense, error_picture(np.ones((4, 5, 2)), np.zeros((4, 5, 2))))


def test_outliers_in_the_picture_are_the_kits_count(shared: Path) -> None:
    folder = shared / "data" / "KITTI" / "devkit-demo"
    (flow, _), (truth, valid) = read_flow(folder / "flow_est.png"), read_flow(folder / "flow_gt.png")
    picture = error_picture(flow, truth, valid)
    outliers = valid & (picture[..., 0] > picture[..., 2])  # yellow to red against blue
    counted = json.loads((folder / "expected.json").read_text())["pooled_counts_outliers_valid"]
    assert [int(outliers.sum()), int(valid.sum())] == counted
