"""`flowzoo.flow` against formulas: affine flows have exact compositions, inverses and sizes."""

import itertools

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

import flowzoo
from flowzoo import flow as algebra
from flowzoo.errors import InputError

HEIGHT, WIDTH = 60, 80
TURN = np.array([[np.cos(0.1), -np.sin(0.1), 3.0], [np.sin(0.1), np.cos(0.1), -2.0], [0, 0, 1]])
ZOOM = np.array([[1.15, 0.05, -4.0], [-0.02, 0.9, 2.5], [0, 0, 1]])
DOUBLE = np.array([[2.2, 0.0, -40.0], [0.0, 2.2, -30.0], [0, 0, 1]])
MAPS = {"turn": TURN, "zoom": ZOOM, "double": DOUBLE}


def positions(height=HEIGHT, width=WIDTH):
    y, x = np.mgrid[:height, :width].astype(float)
    return x, y


def affine(matrix, height=HEIGHT, width=WIDTH):
    """The flow of p -> matrix p, HxWx2 float32."""
    x, y = positions(height, width)
    there = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix[:2].T
    return (there - np.stack([x, y], axis=-1)).astype(np.float32)


def stays_inside(flow, margin=0.0):
    x, y = positions(*flow.shape[:2])
    x, y = x + flow[..., 0], y + flow[..., 1]
    return (x >= margin) & (x <= WIDTH - 1 - margin) & (y >= margin) & (y <= HEIGHT - 1 - margin)


def as_kind(flow, kind):
    """An HxWx2 array as one of the kinds that are taken, and the way back."""
    if kind == "array":
        return flow, lambda found: found
    if kind == "arrays":
        return np.stack([flow, flow]), lambda found: found[1]
    tensor = torch.from_numpy(flow).permute(2, 0, 1)
    if kind == "tensor":
        return tensor, lambda found: found.permute(1, 2, 0).numpy()
    return torch.stack([tensor, tensor]), lambda found: found[1].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", ["array", "arrays", "tensor", "tensors"])
@pytest.mark.parametrize(("first", "second"), list(itertools.product(MAPS, MAPS)))
def test_composed_affine_flows_are_the_product(first, second, kind):
    one, two = affine(MAPS[first]), affine(MAPS[second])
    (given_one, back), (given_two, _) = as_kind(one, kind), as_kind(two, kind)
    found = algebra.compose(given_one, given_two)
    assert type(found) is type(given_one)
    assert found.dtype == given_one.dtype
    assert found.shape == given_one.shape
    found = back(found)
    inside = stays_inside(one, 0.01)
    assert inside.sum() > 500
    assert np.abs(found - affine(MAPS[second] @ MAPS[first]))[inside].max() < 1e-3
    assert np.isnan(found[~stays_inside(one, -0.01)]).all()


@pytest.mark.parametrize("kind", ["array", "tensors"])
@pytest.mark.parametrize("name", MAPS)
def test_inverted_affine_flows_are_the_inverse(name, kind):
    given, back = as_kind(affine(MAPS[name]), kind)
    found, expected = back(algebra.invert(given)), affine(np.linalg.inv(MAPS[name]))
    inside = stays_inside(expected, 0.01)
    assert inside.sum() > 500
    assert np.abs(found - expected)[inside].max() < 1e-3
    assert np.isnan(found[~stays_inside(expected, -0.02)]).all()


@pytest.mark.parametrize("name", ["turn", "zoom"])
def test_accumulated_affine_flows_are_the_power(name):
    matrix, count = MAPS[name], 5
    found = algebra.accumulate(affine(matrix) for _ in range(count))
    inside = np.ones((HEIGHT, WIDTH), bool)
    for power in range(1, count):
        inside &= stays_inside(affine(np.linalg.matrix_power(matrix, power)), 0.01)
    assert inside.sum() > 500
    assert found.dtype == np.float32
    assert np.abs(found - affine(np.linalg.matrix_power(matrix, count)))[inside].max() < 1e-3
    np.testing.assert_array_equal(algebra.accumulate([affine(matrix)]), affine(matrix))


def bumps():
    """A smooth field that is no polynomial."""
    x, y = positions()
    return np.stack([3 * np.sin(y / 9) + 2, 2.5 * np.cos(x / 11 + y / 20)], axis=-1).astype(np.float32)


def test_there_and_back_is_no_flow():
    flow = bumps()
    back = algebra.invert(flow)
    known = np.isfinite(back).all(axis=-1)
    assert known.mean() > 0.85
    there = algebra.compose(back, flow)
    assert np.abs(there[known]).max() < 0.01
    again = algebra.invert(back)
    both = np.isfinite(again).all(axis=-1)
    assert both.mean() > 0.7
    assert np.abs(again - flow)[both].max() < 0.05


def test_unknown_flow_stays_unknown_and_spreads_to_what_needs_it_alone():
    first, second = affine(np.eye(3)), affine(TURN)
    first[..., 0] = 0.5
    second[20, 30] = np.nan
    first[5, 5] = np.nan
    lost = {tuple(place) for place in np.argwhere(np.isnan(algebra.compose(first, second)).any(axis=-1)).tolist()}
    assert lost == {(5, 5), (20, 29), (20, 30)} | {(y, WIDTH - 1) for y in range(HEIGHT)}
    back = algebra.invert(second)
    assert 0 < np.isnan(back[10:40, 20:50]).any(axis=-1).sum() <= 12


def test_what_comes_into_view_has_no_inverse():
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[20:40, 20:40] = (10, 0)
    back = algebra.invert(flow)
    unknown = np.isnan(back).any(axis=-1)
    assert unknown[21:39, 20:30].all()
    assert unknown.sum() <= 20 * 10 + 2 * 40
    np.testing.assert_allclose(back[22:38, 30:50], np.broadcast_to((-10, 0), (16, 20, 2)), atol=1e-4)
    assert (back[:, :20] == 0).all()
    assert (back[:, 51:] == 0).all()


@pytest.mark.parametrize("size", [(120, 160), (30, 40), (45, 200), (60, 80)])
def test_resized_affine_flow_is_that_of_the_resized_images(size):
    height, width = size
    grow = np.array([[width / WIDTH, 0, 0], [0, height / HEIGHT, 0], [0, 0, 1]])
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    to_new = np.linalg.inv(shift) @ grow @ shift  # pixel centres are at half numbers
    expected = affine(to_new @ TURN @ np.linalg.inv(to_new), height, width)
    found = algebra.resize(affine(TURN), size)
    margin = 4
    # The low-pass filter of sizes that do not divide each other is a little off the pixels' centres.
    bound = 5e-3 if HEIGHT % height and height % HEIGHT else 1e-3
    assert np.abs(found - expected)[margin:-margin, margin:-margin].max() < bound


def test_resizing_leaves_unknown_pixels_out():
    flow = np.full((40, 40, 2), 2.0, np.float32)
    flow[:, :20] = np.nan
    found = algebra.resize(flow, (20, 20))
    assert np.isnan(found[:, :10]).all()
    np.testing.assert_allclose(found[:, 10:], 1.0, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 3)])
def test_warp_is_bilinear_sampling(shape, dtype):
    image = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    flow = bumps()
    found = algebra.warp(image, flow)
    assert found.dtype == dtype
    x, y = positions()
    where = [y + flow[..., 1], x + flow[..., 0]]
    planes = image.reshape(HEIGHT, WIDTH, -1).astype(float)
    expected = np.stack([map_coordinates(p, where, order=1, cval=0) for p in planes.transpose(2, 0, 1)], axis=-1)
    inside = stays_inside(flow)
    bound = 1e-2 if np.issubdtype(dtype, np.floating) else 0.51
    assert np.abs(found.reshape(expected.shape).astype(float) - expected)[inside].max() <= bound


def test_splat_is_the_mean_of_what_lands():
    values = np.arange(20, dtype=np.float32).reshape(4, 5)
    flow = np.zeros((4, 5, 2), np.float32)
    flow[1, 1] = (2, 1)  # onto (row 2, column 3)
    found = algebra.splat(values, flow, fill=-1)
    expected = values.copy()
    expected[1, 1] = -1
    expected[2, 3] = (values[2, 3] + values[1, 1]) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    weights = np.ones_like(values)
    weights[1, 1] = 3
    assert algebra.splat(values, flow, weights)[2, 3] == pytest.approx((values[2, 3] + 3 * values[1, 1]) / 4)
    values[0, 0] = np.nan
    assert algebra.splat(values, flow, fill=7)[0, 0] == 7


def test_consistency_is_the_distance_from_the_start_and_occlusion_its_bound():
    flow = affine(np.array([[1, 0, 4.0], [0, 1, 0], [0, 0, 1]]))
    backward = -flow
    backward[:, 40:] += (0, 3)
    error, hidden = algebra.consistency(flow, backward), algebra.occlusion(flow, backward)
    assert error.shape == hidden.shape == (HEIGHT, WIDTH)
    assert hidden.dtype == bool
    np.testing.assert_allclose(error[:, :35], 0, atol=1e-5)
    np.testing.assert_allclose(error[:, 36:76], 3, atol=1e-4)
    assert np.isnan(error[:, 76:]).all()
    assert not hidden[:, :35].any()
    assert hidden[:, 36:].all()
    flow[3, 3] = np.nan
    assert algebra.occlusion(flow, backward)[3, 3]
    batch = torch.from_numpy(np.stack([flow, flow])).permute(0, 3, 1, 2)
    assert algebra.consistency(batch, batch).shape == (2, HEIGHT, WIDTH)


def test_hsv_is_opencvs():
    flow = bumps() * 3 - 4
    length = np.hypot(flow[..., 0], flow[..., 1])
    colours = np.stack([np.degrees(np.arctan2(flow[..., 1], flow[..., 0])) % 360, np.ones_like(length)], axis=-1)
    colours = np.dstack([colours, np.clip(length / 8, 0, 1)]).astype(np.float32)
    expected = cv2.cvtColor(colours, cv2.COLOR_HSV2RGB) * 255
    found = algebra.hsv(flow, max_flow=8)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.51
    tensor = algebra.hsv(torch.from_numpy(flow).permute(2, 0, 1), max_flow=8)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), found)
    assert (algebra.hsv(flow, max_flow=8, gamma=0.5).astype(int) >= found).all()


def test_arrows_start_at_the_grid_point_and_end_where_the_flow_does():
    flow = np.zeros((32, 64, 2), np.float32)
    flow[8, 8] = (20, 0)
    flow[8, 40] = np.nan
    picture = algebra.arrows(flow, step=16, colour=(9, 8, 7))
    assert picture.shape == (32, 64, 3)
    drawn = (picture == (9, 8, 7)).all(axis=-1)
    assert drawn[8, 8:29].all()
    assert not drawn[8, 29:40].any()
    assert not drawn[8, 40]
    assert drawn[24, 8]
    image = np.full((32, 64), 0.5, np.float32)
    assert (algebra.arrows(flow, image)[0, 0] == 128).all()


def test_tensors_have_gradients_and_keep_their_type():
    flow = torch.from_numpy(bumps()).permute(2, 0, 1).double().requires_grad_()
    image = torch.rand(3, HEIGHT, WIDTH, dtype=torch.float64)
    found = algebra.warp(image, flow).sum() + algebra.compose(flow, flow).nan_to_num().sum()
    assert found.dtype == torch.float64
    found.backward()
    assert flow.grad.isfinite().all()
    assert flow.grad.abs().sum() > 0
    assert algebra.resize(flow.detach().half(), (30, 40)).dtype == torch.float16


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 2)])
def test_the_smallest_sizes(shape):
    flow = np.zeros((*shape, 2), np.float32)
    np.testing.assert_array_equal(algebra.invert(flow), flow)
    np.testing.assert_array_equal(algebra.compose(flow, flow), flow)
    assert algebra.arrows(flow).shape == (*shape, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: algebra.invert(np.zeros((4, 5), np.float32)), r"flow has shape \(4, 5\)"),
        (lambda: algebra.invert(torch.zeros(4, 5, 2)), r"\(2, H, W\)"),
        (lambda: algebra.compose(np.zeros((4, 5, 2), int), np.zeros((4, 5, 2))), "floating point"),
        (lambda: algebra.warp(np.zeros((4, 6)), np.zeros((4, 5, 2))), "6x4 but flow is 5x4"),
        (lambda: algebra.accumulate([]), "at least one"),
        (lambda: algebra.resize(np.zeros((4, 5, 2)), (0, 4)), "at least one pixel"),
        (lambda: algebra.hsv([[1, 2]]), "list: give a NumPy array"),
        (lambda: algebra.arrows(np.zeros((4, 5, 2)), step=0), "step of at least 1"),
    ],
)
def test_mistakes_are_one_line(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_package_offers_the_room_without_importing_it():
    assert flowzoo.flow is algebra
