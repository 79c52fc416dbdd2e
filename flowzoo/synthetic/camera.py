"""A pinhole camera that moves: what planes and boxes do in its pictures, exactly.

Points of the scene are (x, y, z) in the first camera's frame: x right, y down, z ahead. A plane n.X = d moves by the
homography K (R + t n^T / d) K^-1 (Hartley and Zisserman, "Multiple View Geometry", section 13.1).
"""

import math
from dataclasses import dataclass

import numpy as np

from flowzoo.synthetic.scene import Array


@dataclass(frozen=True)
class Camera:
    """A camera and its motion: a point X of the first frame's coordinates is R X + t in the second's.

    Attributes:
        focal: pixels. centre: (2,) pixels, where the axis meets the picture.
        rotation: (3, 3). translation: (3,), in the unit of the scene.
    """

    focal: float
    centre: Array
    rotation: Array
    translation: Array

    @property
    def matrix(self) -> Array:
        """K (3, 3): camera coordinates to pixels."""
        return np.array(((self.focal, 0, self.centre[0]), (0, self.focal, self.centre[1]), (0, 0, 1)))

    def ray(self, pixel: Array) -> Array:
        """The point (3,) at depth 1 that the pixel (2,) of either frame shows."""
        return np.array((*((pixel - self.centre) / self.focal), 1.0))

    def moved(self, points: Array) -> Array:
        """Points (N, 3) in the second camera's frame."""
        return points @ self.rotation.T + self.translation

    def projected(self, points: Array) -> Array:
        """Pixels (N, 2) of points (N, 3) that are given in the camera's frame, in front of it."""
        return points[:, :2] / points[:, 2:] * self.focal + self.centre

    def turn(self) -> Array:
        """The homography (3, 3) of what is infinitely far away."""
        return self._seen(self.rotation)

    def of_plane(self, normal: Array, distance: float) -> Array:
        """The homography (3, 3), first to second frame, of the plane normal.X = distance."""
        return self._seen(self.rotation + np.outer(self.translation, normal) / distance)

    def _seen(self, motion: Array) -> Array:
        matrix = self.matrix @ motion @ np.linalg.inv(self.matrix)
        return np.asarray(matrix / matrix[2, 2])


@dataclass(frozen=True)
class Face:
    """One visible side of a box. corners: (4, 2) in the second frame; matrix: (3, 3), its motion."""

    corners: Array
    matrix: Array


def box_faces(camera: Camera, centre: Array, sides: Array, turned: Array) -> list[Face]:
    """The sides of a box that both frames show.

    Args:
        centre: (3,), of the box. sides: (3,), half its lengths. turned: (3, 3), a rotation, its axes as columns.
    """
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            normal = turned[:, axis] * sign
            middle = centre + normal * sides[axis]
            one, two = (turned[:, other] * sides[other] for other in range(3) if other != axis)
            corners = np.stack([middle + a * one + b * two for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
            later = camera.moved(corners)
            before, after = normal @ middle, (camera.rotation @ normal) @ later.mean(axis=0)
            if min(corners[:, 2].min(), later[:, 2].min()) > 1e-3 and before < 0 and after < 0:
                faces.append(Face(camera.projected(later), camera.of_plane(normal, float(before))))
    return faces


def rotation(angles: Array) -> Array:
    """(3, 3): about x, then y, then z, by the angles (3,)."""
    total = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        one[a, a] = one[b, b] = math.cos(angle)
        one[a, b], one[b, a] = -math.sin(angle), math.sin(angle)
        total = one @ total
    return total
