"""Scenes that one camera passes: backdrop, ground, cards and boxes at their depths, and what moves by itself."""

import math

import numpy as np

from flowzoo.synthetic.camera import Camera, box_faces, rotation
from flowzoo.synthetic.scene import Array, LayerPlan, MotionPlan, Scene
from flowzoo.synthetic.settings import SceneSettings
from flowzoo.synthetic.varied import MARGIN, VariedDraw, similarity

NEAR, FAR = 0.4, 8.0
"""Depths of objects; the unit is that of the scene."""
STEEPEST = 0.35
"""Of what is nearest, the camera moves at most this share of the depth along its axis between the frames."""


class SolidDraw(VariedDraw):
    """The random choices of one such scene: all motions but those of movers follow from the camera's."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], settings: SceneSettings, cutouts: bool) -> None:
        super().__init__(rng, size, settings, cutouts)
        self.has_camera, self.driving, self.camera = False, False, np.zeros(2)
        self.view = self.drawn_camera()

    def drawn_camera(self) -> Camera:
        """Rotation and translation whose image motions are drawn like those of other scenes."""
        rng = self.rng
        focal = self.width * math.exp(rng.uniform(math.log(0.6), math.log(1.8)))
        centre = np.array((self.width * rng.normal(0.5, 0.04), self.height * rng.normal(0.48, 0.07)))
        pan = self.translation() * rng.uniform(0, 0.7) / focal
        angles = np.array((-pan[1], pan[0], rng.normal(0, 0.02) * self.liveliness))
        side, ahead = self.translation() / focal, rng.uniform(0.2, 1.0) * STEEPEST * min(self.pace, 1.0)
        direction = rng.random()
        # sideways, ahead, back, or both; what is at depth 1 moves by `side`
        amount = ahead * NEAR * (0.0 if direction < 0.35 else -1.0 if direction < 0.75 else 1.0)
        sideways = side if direction < 0.35 or rng.random() < 0.5 else side * 0.2
        largest = STEEPEST * NEAR * 3
        shift = np.clip(sideways, -largest, largest)
        return Camera(focal, centre, rotation(angles), np.array((*shift, amount)))

    def scene(self) -> Scene:
        """Back to front: backdrop, ground, objects from far to near."""
        rng, settings = self.rng, self.settings
        layers = [self.background(None)]
        if self.happens(0.5):
            layers += self.ground()
        count = int(rng.integers(settings.objects[0], settings.objects[1] + 1))
        for number in range(count):
            depth = (number + 1) / (count + 1)
            layers += self.box(depth) if self.happens(0.3) else [self.item(depth, None)]
        if self.happens(settings.foreground):
            layers.append(self.item(1.0, None, rng.uniform(1.0, 1.8) * max(self.height, self.width) / self.shorter))
        return self.finished(layers)

    def distance(self, depth: float) -> float:
        """Of a place among the layers (0 far, 1 near)."""
        return float(FAR * (NEAR / FAR) ** depth * math.exp(self.rng.normal(0, 0.1)))

    def background(self, drive: Array | None) -> LayerPlan:
        """A wall, facing the camera more or less, behind everything."""
        rng, centre = self.rng, np.array(((self.width - 1) / 2, (self.height - 1) / 2))
        normal = rotation(np.array((*rng.normal(0, 0.2, 2), 0.0))) @ np.array((0.0, 0.0, 1.0))
        matrix = self.view.of_plane(normal, FAR * rng.uniform(1.0, 3.0))
        size = self.height + 2.0 * MARGIN, self.width + 2.0 * MARGIN
        return LayerPlan(
            kind="background",
            size=size,
            place=similarity(rng.normal(0, 0.25), centre, np.array((size[1], size[0])) / 2),
            motion=MotionPlan(matrix),
            blur=self.blur(moved_by(matrix, centre) - centre),
            **self.look(0.0),  # type: ignore[arg-type]
        )

    def ground(self) -> list[LayerPlan]:
        """A floor below the camera, from a little below the horizon down."""
        view, height = self.view, NEAR * math.exp(self.rng.uniform(math.log(0.8), math.log(5)))
        normal = np.array((0.0, 1.0, 0.0))
        # Points of the second frame on the floor at FAR, left and right; below them it fills the frame.
        far = view.projected(view.moved(np.array(((-3 * FAR, height, FAR), (3 * FAR, height, FAR)))))
        reach = self.height + MARGIN + 1.0
        if not far[:, 1].max() < self.height - 8:
            return []
        left, right = -float(MARGIN), float(self.width + MARGIN)
        slope = (far[1, 1] - far[0, 1]) / (far[1, 0] - far[0, 0])
        edge = [far[0, 1] + slope * (x - far[0, 0]) for x in (left, right)]
        corners = np.array(((left, edge[0]), (right, edge[1]), (right, reach), (left, reach)))
        return [self.outlined(corners, view.of_plane(normal, height), 0.2)]

    def box(self, depth: float) -> list[LayerPlan]:
        """Its sides that are seen, one layer each, in colours of the same picture."""
        rng = self.rng
        distance, size = self.distance(depth), math.exp(rng.uniform(*np.log(self.settings.size)))
        pixel = rng.uniform(0, 1, 2) * (self.width, self.height)
        half = size * self.shorter / self.view.focal * distance / 2
        sides = half * np.exp(rng.normal(0, 0.3, 3))
        turned = rotation(np.array((rng.normal(0, 0.3), rng.uniform(-math.pi, math.pi), rng.normal(0, 0.2))))
        centre = self.view.ray(pixel) * (distance + float(np.linalg.norm(sides)))
        look = self.look(depth)
        layers = []
        for face in box_faces(self.view, centre, sides, turned):
            shade = rng.uniform(0.6, 1.1)
            own = look | {"gain": tuple(value * shade for value in look["gain"])}  # type: ignore[attr-defined]
            layers.append(self.outlined(face.corners, face.matrix, depth, own))
        return layers

    def outlined(self, corners: Array, matrix: Array, depth: float, look: dict[str, object] | None = None) -> LayerPlan:
        """A layer inside corners (N, 2) of the second frame, whose motion is `matrix`."""
        low, high = corners.min(axis=0) - 1, corners.max(axis=0) + 1
        middle: Array = (low + high) / 2
        first = moved_by(np.asarray(np.linalg.inv(matrix)), middle)
        return LayerPlan(
            kind="outline",
            size=(float(high[1] - low[1]), float(high[0] - low[0])),
            place=np.array(((1.0, 0.0, -low[0]), (0.0, 1.0, -low[1]))),
            motion=MotionPlan(matrix),
            blur=self.blur(middle - first),
            corners=corners - low,
            seed=int(self.rng.integers(2**31)),
            **(look or self.look(depth)),  # type: ignore[arg-type]
        )

    def item_motion(self, first: Array, depth: float, drive: Array | None, extent: float) -> tuple[MotionPlan, Array]:
        """A card, turned by up to some 50 degrees, that stands still, or moves rigidly by itself before the camera."""
        rng, view = self.rng, self.view
        distance = self.distance(depth)
        if self.happens(0.35):  # a mover: its own motion first, then the camera's
            own = rotation(rng.normal(0, 0.1, 3) * self.liveliness)
            place = view.ray(first) * distance
            step = np.array((*(self.translation() / view.focal * distance), rng.normal(0, 0.05) * distance))
            view = Camera(
                view.focal, view.centre, view.rotation @ own, view.moved((place - own @ place + step)[None])[0]
            )
        normal = rotation(np.array((*rng.normal(0, 0.4, 2), 0.0))) @ np.array((0.0, 0.0, 1.0))
        matrix = self.tame(view, first, normal, distance, extent)
        return MotionPlan(matrix), moved_by(matrix, first)

    def tame(self, view: Camera, first: Array, normal: Array, distance: float, extent: float) -> Array:
        """The homography of a card; of one that faces the camera where a turned one would end behind it."""
        place = view.ray(first) * distance
        matrix = np.eye(3)
        for tilt in (normal, np.array((0.0, 0.0, 1.0))):
            away = float(tilt @ place)
            if away < 0.2 * distance:
                continue
            matrix = view.of_plane(tilt, away)
            corners = first + extent / 2 * np.array(((-1, -1), (1, -1), (1, 1), (-1, 1), (0, 0)))
            weights = corners @ matrix[2, :2] + matrix[2, 2]
            if weights.min() > 0.5 and weights.max() < 2:
                break
        return matrix


def moved_by(matrix: Array, point: Array) -> Array:
    """A point (2,) under a homography (3, 3)."""
    x, y, w = matrix @ np.array((*point, 1.0))
    return np.array((x / w, y / w))
