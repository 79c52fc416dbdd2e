"""Varied scenes of optical flow: the random choices of one pair."""

import math

import numpy as np

from flowzoo.synthetic.scene import NO_BLUR, Array, FramePlan, LayerPlan, MotionPlan, Scene, Veil
from flowzoo.synthetic.settings import SceneSettings

SOLID = ("polygon", "polygon", "blob", "blob", "blob", "ragged", "ragged", "ragged", "bar", "ring")
THIN = ("bar", "bar", "twig", "twig", "twig", "lattice", "lattice", "frame", "ring")
MARGIN = 32  # pixels of background texture around the frame; beyond, it is mirrored


def similarity(angle: float, centre: Array, to: Array) -> Array:
    """(2, 3): turn by `angle` about `centre`, which goes to `to`."""
    turn = np.array(((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))))
    return np.concatenate((turn, (to - turn @ centre)[:, None]), axis=1)


def homography(linear: Array, centre: Array, to: Array, tilt: Array) -> Array:
    """(3, 3): `centre` to `to`, with derivative `linear` there and projective part `tilt` per pixel."""
    before, after = np.eye(3), np.eye(3)
    before[:2, 2], after[:2, 2] = -centre, to
    middle = np.eye(3)
    middle[:2, :2], middle[2, :2] = linear, tilt
    return after @ middle @ before


class VariedDraw:
    """The random choices of one varied scene."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], settings: SceneSettings, cutouts: bool) -> None:
        self.rng, self.settings, self.cutouts = rng, settings, cutouts
        self.height, self.width = size
        self.shorter = min(size)
        self.pace = settings.motion
        if self.happens(settings.calm):
            self.pace *= math.exp(rng.uniform(math.log(0.02), math.log(0.5)))
        self.liveliness = min(self.pace, 1.0)  # of rotation, zoom and bending
        self.has_camera = self.happens(settings.camera)
        self.driving = self.happens(settings.driving)
        self.camera = self.translation() if self.has_camera else np.zeros(2)
        self.defocused = self.happens(settings.defocus)
        self.focused_depth = rng.uniform(0, 1)
        self.exposure = rng.uniform(0.2, 1.0) if self.happens(settings.motion_blur) else 0.0

    def happens(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def scene(self) -> Scene:
        rng, settings = self.rng, self.settings
        drive = self.drive() if self.driving else None
        layers = [self.background(drive)]
        count = int(rng.integers(settings.objects[0], settings.objects[1] + 1))
        for number in range(count):
            layers.append(self.item((number + 1) / (count + 1), drive))
        if self.happens(settings.foreground):
            layers.append(self.item(1.0, drive, rng.uniform(1.0, 1.8) * max(self.height, self.width) / self.shorter))
        return self.finished(layers)

    def finished(self, layers: list[LayerPlan]) -> Scene:
        """The scene of these layers, with air and camera."""
        rng, settings = self.rng, self.settings
        veils = []
        if self.happens(settings.shadow):
            veils.append(self.veil(multiply=True))
        if self.happens(settings.haze):
            veils.append(self.veil(multiply=False))
        if settings.fog and self.happens(settings.fog):  # no draw without: other scenes stay what they were
            self.add_fog(layers)
        return Scene(
            layers=layers,
            veils=veils,
            blur=rng.uniform(0.4, 1.6) if self.happens(settings.frame_blur) else 0.0,
            frames=self.frames(),
            swap=self.happens(settings.swap),
        )

    def translation(self) -> Array:
        """A displacement: many small ones, some medium, few large."""
        rng, settings, kind = self.rng, self.settings, self.rng.random()
        if settings.large and self.happens(settings.large):
            length = rng.uniform(20, 110)
        elif kind < 0.2:
            length = abs(rng.normal(0, 0.8))
        elif kind < 0.62:
            length = abs(rng.normal(0, 3))
        elif kind < 0.88:
            length = rng.exponential(11)
        else:
            length = rng.uniform(15, 90)
        angle = rng.uniform(0, 2 * math.pi)
        return np.array((math.cos(angle), 0.8 * math.sin(angle))) * length * self.pace

    def linear(self, strong: float, object_turn: bool = False) -> Array:
        """Rotation, zoom and shear: identity plus a little, or more in a share `strong` of the cases."""
        rng = self.rng
        spread = (0.09 if self.happens(strong) else 0.02) * self.liveliness
        turn = rng.normal(0, spread)
        if object_turn and self.happens(0.15):
            turn = rng.normal(0, 0.35) * self.liveliness
        zoom, squeeze, shear = (
            np.exp(rng.normal(0, spread)),
            np.exp(rng.normal(0, spread / 2)),
            rng.normal(0, spread / 2),
        )
        rotation = np.array(((math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))))
        matrix: np.ndarray = rotation @ np.array(((zoom * squeeze, shear), (0, zoom / squeeze)))
        return matrix

    def tilt(self, extent: float) -> Array:
        """Projective part per pixel: changes the scale by at most about 15 % over `extent` pixels."""
        if not self.happens(self.settings.perspective):
            return np.zeros(2)
        largest = 0.15 / extent
        return np.clip(self.rng.normal(0, 2.5e-4 * 384 / max(self.width, 1), 2) * self.liveliness, -largest, largest)

    def waves(self, extent: float, along: Array | None = None) -> Array | None:
        """A smooth field over `extent` pixels: of any direction, or `along` a vector (depth under a camera motion)."""
        rng, bends = self.rng, self.happens(self.settings.smooth)
        parts = []
        if along is not None and np.hypot(*along) > 0.01:
            for _ in range(3):
                parts.append((along * rng.normal(0, 0.22), rng.uniform(0.6, 2.5)))
        if bends:
            strength = rng.exponential(2.5) * self.pace
            for _ in range(3):
                parts.append((rng.normal(0, 0.6, 2) * strength, rng.uniform(0.4, 2.0)))
        if not parts:
            return None
        angle = rng.uniform(0, 2 * math.pi, len(parts))
        number = 2 * math.pi / (np.array([length for _, length in parts]) * extent)
        amplitude = np.array([vector for vector, _ in parts])
        steepness = float((np.hypot(amplitude[:, 0], amplitude[:, 1]) * number).sum())
        amplitude *= min(1.0, 0.45 / max(steepness, 1e-9))  # stays invertible
        phase = rng.uniform(0, 2 * math.pi, len(parts))
        return np.column_stack((amplitude, number * np.cos(angle), number * np.sin(angle), phase))

    def drive(self) -> Array:
        """Focus of expansion, depth of the far plane, ground and walls, and the direction."""
        rng = self.rng
        focus = np.array((self.width * rng.normal(0.5, 0.15), self.height * rng.normal(0.45, 0.1)))
        focus = np.clip(focus, 0.1 * np.array((self.width, self.height)), 0.9 * np.array((self.width, self.height)))
        speed = min(self.pace, 1.5)
        expansion = rng.uniform(0.03, 0.4) * speed, *(rng.uniform(0.0, 0.4, 2) * speed)
        room = self.height - focus[1], focus[0], self.width - focus[0]
        slopes = [amount / max(space, 8.0) for amount, space in zip(expansion, room, strict=True)]
        direction = 1.0 if rng.random() < 0.8 else -1.0
        return np.array((*focus, rng.uniform(0, 0.04) * speed, *slopes, direction))

    def look(self, depth: float) -> dict[str, object]:
        """Texture and colours of a layer at `depth` (0 far, 1 near)."""
        rng, settings = self.rng, self.settings
        low = self.happens(settings.low_texture)
        sharpness = 1.0
        if low:
            sharpness = math.exp(rng.uniform(math.log(0.05), math.log(0.5)))
        elif self.defocused and abs(depth - self.focused_depth) > 0.15:
            sharpness = 1 / (1 + 4 * abs(depth - self.focused_depth) * rng.uniform(0.5, 1.5))
        return {
            "source": rng.random(),
            "procedural": self.happens(settings.procedural),
            "corner": (rng.random(), rng.random()),
            "zoom": math.exp(rng.uniform(math.log(0.55), math.log(1.6 if depth == 0 else 3.5))),
            "flip": self.happens(0.5),
            "sharpness": sharpness,
            "gain": tuple(rng.uniform(0.75, 1.25) * rng.uniform(0.93, 1.07, 3)),
            "contrast": rng.uniform(0.1, 0.6) if low else rng.uniform(0.75, 1.15),
        }

    def blur(self, displacement: Array) -> tuple[float, float]:
        """Motion blur of a layer that moves by `displacement` between the frames."""
        length = float(np.hypot(*displacement))
        if self.exposure == 0 or length * self.exposure < 1:
            return NO_BLUR
        factor = min(self.exposure, self.settings.longest_blur / length)
        return float(displacement[0] * factor), float(displacement[1] * factor)

    def background(self, drive: Array | None) -> LayerPlan:
        centre = np.array(((self.width - 1) / 2, (self.height - 1) / 2))
        if drive is not None:
            shift = self.translation() * 0.3
        elif self.has_camera:
            shift = self.camera
        else:
            shift = self.translation()
        extent = max(self.width, self.height)
        waves = self.waves(extent, shift if self.has_camera and drive is None else None)
        matrix = homography(self.linear(0.3), centre, centre + shift, self.tilt(extent))
        size = self.height + 2.0 * MARGIN, self.width + 2.0 * MARGIN
        return LayerPlan(
            kind="background",
            size=size,
            place=similarity(self.rng.normal(0, 0.25), centre, np.array((size[1], size[0])) / 2),
            motion=MotionPlan(matrix, waves=waves, drive=drive),
            blur=self.blur(shift),
            **self.look(0.0),  # type: ignore[arg-type]
        )

    def item(self, depth: float, drive: Array | None, relative: float | None = None) -> LayerPlan:
        """One object; `relative`: its size in shorter sides of the frame, else drawn."""
        rng, settings = self.rng, self.settings
        if relative is None:
            relative = math.exp(rng.uniform(*np.log(settings.size)))
        longer = max(relative * self.shorter, 8.0)
        cutout = self.cutouts and self.happens(settings.cutouts)
        thin = not cutout and self.happens(settings.thin)
        kind = "cutout" if cutout else str(rng.choice(THIN if thin else SOLID))
        aspect = math.exp(-abs(rng.normal(0, 0.45)))
        if kind == "bar" and thin:
            aspect = max(rng.uniform(1.2, 7) / longer, 0.01)
        height, width = (longer, longer * aspect) if self.happens(0.5) else (longer * aspect, longer)
        height, width = max(height, 1.2), max(width, 1.2)
        first = rng.uniform(-0.05, 1.05, 2) * (self.width, self.height)
        motion, second = self.item_motion(first, depth, drive, max(height, width))
        turn = rng.normal(0, 0.35) if cutout else rng.uniform(-math.pi, math.pi)
        return LayerPlan(
            kind=kind,
            size=(height, width),
            place=similarity(-turn, second, np.array((width, height)) / 2),
            motion=motion,
            blur=self.blur(second - first),
            softness=rng.uniform(2, 8) if self.happens(0.08) else 1.0,
            seed=int(rng.integers(2**31)),
            thickness=math.exp(rng.uniform(math.log(0.6), math.log(3.5))),
            **self.look(depth),  # type: ignore[arg-type]
        )

    def item_motion(self, first: Array, depth: float, drive: Array | None, extent: float) -> tuple[MotionPlan, Array]:
        """The motion of an object centred at `first`, and its centre in the second frame."""
        rng = self.rng
        if self.happens(self.settings.still):
            return MotionPlan(), first
        shift, linear = np.zeros(2), self.linear(0.3, object_turn=True)
        follows = self.happens(0.6)
        if drive is not None and self.happens(0.7):
            offset = first - drive[:2]
            depths = drive[2], offset[1] * drive[3], -offset[0] * drive[4], offset[0] * drive[5]
            q = min(max(depths) * rng.uniform(1, 1.6), 0.6) * drive[6]
            shift, linear = offset * q / (1 - q), linear / (1 - q)
        elif self.has_camera and follows:
            shift = self.camera * np.exp(rng.normal(0.5 * depth, 0.5))
        else:
            shift = self.translation() + (self.camera if self.happens(0.65) else 0)
        return MotionPlan(
            homography(linear, first, first + shift, self.tilt(extent)), self.waves(max(extent, 60.0))
        ), first + shift

    def add_fog(self, layers: list[LayerPlan]) -> None:
        """The farther a layer, the more of its colour is the fog's: 1 - exp(-density * depth)."""
        rng = self.rng
        colour = np.clip(rng.uniform(0.5, 0.95) + rng.normal(0, 0.04, 3), 0, 1)
        density = rng.uniform(0.4, 2.5)
        for number, layer in enumerate(layers):
            depth = 1 - number / len(layers)
            layer.fog = (float(colour[0]), float(colour[1]), float(colour[2]))
            layer.fog_share = 1 - math.exp(-density * depth)

    def veil(self, *, multiply: bool) -> Veil:
        rng = self.rng
        count = 5
        number = 2 * math.pi / (self.width * rng.uniform(0.25, 2.0, count))
        angle = rng.uniform(0, 2 * math.pi, count)
        waves = np.column_stack(
            (
                number * np.cos(angle),
                number * np.sin(angle),
                rng.uniform(0, 2 * math.pi, count),
                rng.uniform(0.4, 1.6, count),
            )
        )
        if multiply:
            colour = tuple(rng.uniform(0.3, 0.7) * rng.uniform(0.9, 1.1, 3))
            if self.happens(0.3):
                colour = tuple(rng.uniform(1.2, 1.6) * rng.uniform(0.9, 1.1, 3))
        else:
            colour = tuple(np.clip(rng.uniform(0.4, 1.0) + rng.normal(0, 0.05, 3), 0, 1))
        shift = self.translation()
        return Veil(
            colour=colour,
            strength=rng.uniform(0.3, 1.0) if multiply else rng.uniform(0.15, 0.75),
            waves=waves,
            bias=rng.normal(0, 1),
            shift=(float(shift[0]), float(shift[1])),
            multiply=multiply,
        )

    def frames(self) -> tuple[FramePlan, FramePlan]:
        rng, settings = self.rng, self.settings
        changes = self.happens(settings.brightness)
        amount = (0.15 if self.happens(0.15) else 0.03) if changes else 0.0
        noise = min(rng.exponential(0.4), 1.0) * settings.strongest_noise if self.happens(settings.noise) else 0.0
        light = 1.0
        if settings.low_light and self.happens(settings.low_light):
            light = math.exp(rng.uniform(math.log(0.12), math.log(0.5)))
            noise = max(noise, rng.uniform(0.2, 1.0) * settings.strongest_noise)
        plans = []
        for _ in range(2):
            gain = light * np.exp(rng.normal(0, amount) + rng.normal(0, amount / 3, 3))
            plans.append(
                FramePlan(
                    gain=(float(gain[0]), float(gain[1]), float(gain[2])),
                    offset=rng.normal(0, amount / 3),
                    gamma=math.exp(rng.normal(0, amount)) if changes and amount > 0.1 else 1.0,
                    noise=noise,
                    noise_corner=(int(rng.integers(256)), int(rng.integers(256))),
                )
            )
        return plans[0], plans[1]
