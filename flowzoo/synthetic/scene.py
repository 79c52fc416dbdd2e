"""A scene: everything about a pair before it is rendered, as numbers.

A scene is a background and objects, back to front. Each layer has a texture, a place in the second frame, and a motion
from the first frame to the second.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NO_BLUR = (0.0, 0.0)


@dataclass
class MotionPlan:
    """One map from the first to the second frame; see `motion.Motion`."""

    matrix: Array = field(default_factory=lambda: np.eye(3))
    waves: Array | None = None  # (K, 5): amplitude x, y; vector x, y; phase
    knots: Array | None = None  # (N, 4): position x, y; displacement x, y
    drive: Array | None = None  # focus x, y; far; slopes below, left, right; direction

    def reach(self) -> float:
        """The largest displacement by the waves, pixels."""
        return 0.0 if self.waves is None else float(np.hypot(self.waves[:, 0], self.waves[:, 1]).sum())


@dataclass
class LayerPlan:
    """One layer. `place` (2, 3) takes pixels of the second frame to pixels of the layer, (0, 0) at its top left."""

    kind: str  # "background", "cutout", "outline" or one of shapes.KINDS
    source: float  # 0..1: which texture or cut-out
    procedural: bool
    corner: tuple[float, float]  # 0..1: where in the texture it is cut
    size: tuple[float, float]  # height, width in pixels of the frame
    place: Array
    motion: MotionPlan
    zoom: float = 1.0  # texture pixels per pixel, at most what the texture has
    fine: float = 2.0  # layer pixels per pixel of a background
    flip: bool = False
    sharpness: float = 1.0  # resolution that is left, of one pixel per pixel
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    blur: tuple[float, float] = NO_BLUR  # length of the motion blur in x and y, pixels of the frame
    softness: float = 1.0  # width of the edge of a drawn shape, pixels
    seed: int = 0
    thickness: float = 3.0  # of the strokes of thin shapes, pixels
    corners: Array | None = None  # (N, 2) of an "outline", pixels of the layer
    fog: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fog_share: float = 0.0  # of the colour, the rest is the layer's own
    mirrored: bool = True  # beyond its borders a background is mirrored, or black and invalid


@dataclass
class Veil:
    """A soft field of colour over both frames: haze, shadow or light. strength 0..1 times a field in 0..1."""

    colour: tuple[float, float, float]
    strength: float
    waves: Array  # (K, 4): vector x, y in rad/px, phase, weight
    bias: float
    shift: tuple[float, float]  # motion in pixels
    multiply: bool  # darken or brighten towards `colour` times the frame, instead of towards `colour`


@dataclass
class FramePlan:
    """What the camera does to one frame."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    noise_corner: tuple[int, int] = (0, 0)


@dataclass
class Scene:
    """A pair to render."""

    layers: list[LayerPlan]  # back to front, the first is the background
    veils: list[Veil]
    blur: float  # Gaussian, standard deviation in pixels
    frames: tuple[FramePlan, FramePlan]
    swap: bool
