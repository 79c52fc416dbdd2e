"""What synthetic scenes are made of, in numbers."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from flowzoo.errors import InputError


@dataclass(frozen=True)
class SceneSettings:
    """Shares are probabilities in 0..1; lengths are pixels of the rendered frame.

    `kind` "varied" is the scene of training optical flow: a background and objects under many motions. "static" and
    "dynamic" are the geometric-matching sets of GLU-Net and GOCor (`SceneSettings.static()`, `.dynamic()`): one
    strong affine, thin-plate or homography map of a photograph, dynamic with one moving object on it; of the other
    settings they use `procedural`, `cutouts` and `matching`.
    """

    kind: Literal["varied", "static", "dynamic"] = "varied"
    # what moves
    objects: tuple[int, int] = (2, 9)  # fewest and most objects of a scene
    cutouts: float = 0.6  # share of objects that are cut-outs (if there are any); the others are drawn shapes
    thin: float = 0.3  # share of the drawn shapes that are bars, twigs, lattices and the like of 1-6 px
    size: tuple[float, float] = (0.07, 0.8)  # object size, share of the frame's shorter side, log-uniform
    foreground: float = 0.06  # share of scenes with one object larger than the frame, near the camera
    # how it moves
    motion: float = 1.0  # factor on every displacement
    large: float = 0.0  # share of displacements that are 20 to 110 px, times `motion`
    calm: float = 0.35  # share of scenes slowed down, by a log-uniform factor 0.02-0.5
    camera: float = 0.5  # share of scenes where a camera translation couples background and objects
    driving: float = 0.14  # share of scenes seen from a moving vehicle
    solid: float = 0.0  # share of scenes of cards, boxes and ground, which a camera passes that also turns
    smooth: float = 0.35  # share of layers that bend by a smooth field
    perspective: float = 0.3  # share of layers with a projective part
    still: float = 0.08  # share of objects that do not move at all
    # how it looks
    procedural: float = 0.15  # share of layers with a procedural texture
    low_texture: float = 0.15  # share of layers whose texture is blurred and of low contrast
    defocus: float = 0.15  # share of scenes with layers out of focus
    motion_blur: float = 0.2  # share of scenes whose layers are blurred along their motion
    longest_blur: float = 25.0  # pixels
    frame_blur: float = 0.1  # share of scenes with both frames blurred a little
    haze: float = 0.12  # share of scenes under haze or fog that moves on its own
    fog: float = 0.0  # share of scenes with fog that hides the more the farther a layer is
    shadow: float = 0.15  # share of scenes under a soft shadow or light that moves on its own
    brightness: float = 0.4  # share of scenes whose frames differ in gain, gamma and colour
    noise: float = 0.4  # share of scenes with sensor noise
    low_light: float = 0.0  # share of scenes with 12 to 50 % of the light, and noise
    strongest_noise: float = 0.03  # standard deviation on the 0..1 scale
    swap: float = 0.5  # share of scenes with first and second frame exchanged
    # geometric matching
    matching: tuple[float, float, float] = (0.25, 0.25, 0.5)  # shares of affine, thin-plate and homography maps

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            is_share = isinstance(entry.default, float) and entry.name not in ("motion", "longest_blur")
            if is_share and not 0 <= value <= 1:
                raise InputError(f"scene setting {entry.name!r} is a share: give 0 to 1, not {value}")
        if not 0 <= self.objects[0] <= self.objects[1] <= 50:
            raise InputError(f"scene setting 'objects' must be fewest,most within 0 to 50, not {self.objects}")
        if not 0 < self.size[0] <= self.size[1] <= 3:
            raise InputError(f"scene setting 'size' must be smallest,largest within 0 to 3, not {self.size}")
        if not 0 <= self.motion <= 10 or not 0 <= self.longest_blur <= 200:
            raise InputError("scene settings: 'motion' takes 0 to 10, 'longest_blur' 0 to 200")
        if min(self.matching) < 0 or sum(self.matching) <= 0:
            raise InputError(f"scene setting 'matching' takes three shares, not {self.matching}")

    @classmethod
    def static(cls) -> "SceneSettings":
        """The Static set of GLU-Net (CAD-520): affine, thin-plate and homography maps, nothing else."""
        return cls(kind="static", procedural=0.0, swap=0.0)

    @classmethod
    def dynamic(cls) -> "SceneSettings":
        """The Dynamic set of GOCor: the Static set plus, in 80 % of the pairs, one object with its own motion."""
        return cls(kind="dynamic", procedural=0.0, swap=0.0)

    @classmethod
    def fast(cls) -> "SceneSettings":
        """Large motion, long blur and thick air: what the plain scenes have little of."""
        return cls(
            cutouts=0.1,
            motion=1.3,
            large=0.4,
            calm=0.15,
            driving=0.2,
            thin=0.4,
            low_texture=0.25,
            motion_blur=0.5,
            longest_blur=60.0,
            frame_blur=0.2,
            haze=0.3,
            fog=0.2,
            shadow=0.25,
            brightness=0.5,
            noise=0.5,
            low_light=0.1,
        )

    @classmethod
    def solids(cls) -> "SceneSettings":
        """Cards, boxes and ground under a camera that moves and turns, half of them fast."""
        return dataclasses.replace(cls.fast(), solid=1.0, motion=1.2, calm=0.25, haze=0.1, motion_blur=0.35, fog=0.3)

    @classmethod
    def swarm(cls) -> "SceneSettings":
        """Many small and thin objects, each with a fast motion of its own."""
        return dataclasses.replace(
            cls.fast(), objects=(8, 24), size=(0.04, 0.35), thin=0.5, still=0.0, camera=0.3, haze=0.1, fog=0.1
        )

    @classmethod
    def repeated(cls) -> "SceneSettings":
        """Bricks, stripes, dots: texture that looks the same in many places."""
        return dataclasses.replace(cls.fast(), procedural=0.9, motion=1.0, motion_blur=0.2, solid=0.4)


SCENES = {
    "varied": SceneSettings,
    "fast": SceneSettings.fast,
    "solids": SceneSettings.solids,
    "swarm": SceneSettings.swarm,
    "repeated": SceneSettings.repeated,
}
"""Ready-made settings of training scenes, by the name that a training stage's data has ("scenes/fast")."""
