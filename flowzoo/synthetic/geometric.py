"""Scenes of geometric matching: the Static set of GLU-Net and the Dynamic set of GOCor.

The first frame is the networks' target, the second their source: flow goes from target to source, as they learn it.
Sizes below are those of the published recipe, scaled to the height of the frame (520 pixels there, square).
"""

import math

import numpy as np
from numpy.typing import NDArray

from flowzoo.synthetic.scene import FramePlan, LayerPlan, MotionPlan, Scene
from flowzoo.synthetic.settings import SceneSettings
from flowzoo.synthetic.shapes import KINDS

Array = NDArray[np.float64]
VIEW = 0.45  # of the photograph's half sides that the frame shows, affine and thin-plate maps
OBJECT_SHARE = 0.8  # of dynamic pairs
SQUARE, JITTER = 240.0, 80.0  # side of the square whose corners a homography moves, and how far at most


def draw_matching_scene(
    rng: np.random.Generator, size: tuple[int, int], settings: SceneSettings, *, cutouts: bool
) -> Scene:
    """A static or dynamic pair of `size` (height, width)."""
    shares = np.array(settings.matching) / sum(settings.matching)
    kind = int(rng.choice(3, p=shares))
    draw = (_affine, _thin_plate, _homography)[kind]
    content, place, motion = draw(rng, size)
    layers = [
        LayerPlan(
            kind="background",
            source=rng.random(),
            procedural=bool(rng.random() < settings.procedural),
            corner=(0.5, 0.5),
            size=content,
            place=place,
            motion=motion,
            zoom=math.inf,
            fine=1.0,
            mirrored=False,
        )
    ]
    if settings.kind == "dynamic" and rng.random() < OBJECT_SHARE:
        layers.append(_moving_object(rng, size, settings, cutouts))
    return Scene(layers, [], 0.0, (FramePlan(), FramePlan()), bool(rng.random() < settings.swap))


def _normalised(size: tuple[int, int]) -> Array:
    """(3, 3): pixels to -1..1, the outer pixel centres at -1 and 1."""
    height, width = size
    return np.array(((2 / (width - 1), 0, -1), (0, 2 / (height - 1), -1), (0, 0, 1)))


def _view(size: tuple[int, int]) -> tuple[tuple[float, float], Array]:
    """Content size and place of the frame in a photograph of twice its height, 4:3; this stretches it a little."""
    height, width = size
    content = 2.0 * height, 2.0 * height * 4 / 3
    scale = VIEW * (content[1] - 1) / (width - 1), VIEW * (content[0] - 1) / (height - 1)
    place = np.array(
        (
            (scale[0], 0, content[1] / 2 - scale[0] * (width - 1) / 2),
            (0, scale[1], content[0] / 2 - scale[1] * (height - 1) / 2),
        )
    )
    return content, place


def _affine(rng: np.random.Generator, size: tuple[int, int]) -> tuple[tuple[float, float], Array, MotionPlan]:
    """Rotation, stretch along a turned axis, translation, in normalised coordinates."""
    angle, axis = math.radians(rng.uniform(-15, 15)), math.radians(rng.uniform(-30, 30))
    theta = np.eye(3)
    theta[:2, :2] = _turn(angle) @ _turn(-axis) @ np.diag(rng.uniform(0.75, 1.25, 2)) @ _turn(axis)
    theta[:2, 2] = rng.uniform(-0.25, 0.25, 2)
    to_normal = _normalised(size)
    return *_view(size), MotionPlan(np.linalg.inv(to_normal) @ theta @ to_normal)


def _thin_plate(rng: np.random.Generator, size: tuple[int, int]) -> tuple[tuple[float, float], Array, MotionPlan]:
    """A thin-plate spline through a 3x3 grid whose points are moved by N(0, 0.2)."""
    height, width = size
    half = np.array(((width - 1) / 2, (height - 1) / 2))
    x, y = np.meshgrid((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0))
    knots = (np.stack((x.ravel(), y.ravel()), axis=1) + 1) * half
    moved = rng.normal(0, 0.2, (9, 2)) * half
    return *_view(size), MotionPlan(knots=np.concatenate((knots, moved), axis=1))


def _homography(rng: np.random.Generator, size: tuple[int, int]) -> tuple[tuple[float, float], Array, MotionPlan]:
    """The corners of a central square, as tall as the frame, are moved at random."""
    height, width = size
    scale = height / SQUARE
    middle = np.array(((width - 1) / 2, (height - 1) / 2))
    corners = np.array(((-1, -1), (1, -1), (-1, 1), (1, 1))) * SQUARE / 2 * scale
    moved = corners + rng.uniform(-JITTER, JITTER, (4, 2)) * scale
    centred = four_point(moved, corners)
    shift = np.eye(3)
    shift[:2, 2] = middle
    matrix = shift @ centred @ np.linalg.inv(shift)
    content = 2.4 * height, 3.2 * height
    place = np.array(
        ((1.0, 0, content[1] / 2 - middle[0]), (0, 1.0, content[0] / 2 - middle[1])),
    )
    return content, place, MotionPlan(matrix / matrix[2, 2])


def four_point(before: Array, after: Array) -> Array:
    """The homography (3, 3) that takes four points (4, 2) to four others; lower right entry 1."""
    rows, right = [], []
    for (x, y), (u, v) in zip(before.tolist(), after.tolist(), strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        right += [u, v]
    solved = np.linalg.solve(np.array(rows), np.array(right))
    return np.append(solved, 1.0).reshape(3, 3)


def _turn(angle: float) -> Array:
    return np.array(((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))))


def _about(linear: Array, centre: Array) -> Array:
    """(3, 3): `linear` with `centre` fixed."""
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre
    return matrix


def _moving_object(
    rng: np.random.Generator, size: tuple[int, int], settings: SceneSettings, cutouts: bool
) -> LayerPlan:
    """One object anywhere in the target; near that place, or anywhere, in the source, turned and scaled."""
    extent = np.array((size[1], size[0]), dtype=np.float64)
    target = rng.uniform(0, extent)
    if rng.random() < 0.5:
        source = target + rng.integers(-8, 8, 2)
        source = np.where(source < 0, -source, np.where(source > extent, 2 * extent - source, source))
    else:
        source = rng.uniform(0, extent)
    moved = np.eye(3)
    moved[:2, 2] = source - target
    turn = _about(_turn(math.radians(rng.uniform(-30, 30))), (extent - 1) / 2)
    zoom = _about(np.eye(2) * math.exp(rng.uniform(-0.3, 0.3)), extent / 4)
    matrix = zoom @ turn @ moved
    longer = math.exp(rng.uniform(math.log(0.08), math.log(0.7))) * min(size)
    cutout = cutouts and rng.random() < settings.cutouts
    aspect = rng.uniform(0.4, 1.0)
    shape = (longer, longer * aspect) if rng.random() < 0.5 else (longer * aspect, longer)
    in_target = np.array(((1.0, 0, shape[1] / 2 - target[0]), (0, 1.0, shape[0] / 2 - target[1])))
    return LayerPlan(
        kind="cutout" if cutout else KINDS[int(rng.choice((0, 1, 2, 7)))],
        source=rng.random(),
        procedural=bool(rng.random() < settings.procedural),
        corner=(rng.random(), rng.random()),
        size=shape,
        place=in_target @ np.linalg.inv(matrix),
        motion=MotionPlan(matrix),
        zoom=rng.uniform(0.8, 2.5),
        seed=int(rng.integers(2**31)),
    )
