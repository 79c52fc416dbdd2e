"""Scenes to measure by, not to train on: one kind of difficulty each, from seeds that training does not use."""

from dataclasses import replace

from flowzoo.synthetic.pairs import SyntheticPairs
from flowzoo.synthetic.settings import SceneSettings
from flowzoo.synthetic.textures import Textures

SIZE = (448, 640)
"""Height and width of a frame, pixels."""
SEED = 7_919_000
CLEAR = SceneSettings(
    calm=0.0, low_texture=0.1, defocus=0.0, motion_blur=0.0, frame_blur=0.0, haze=0.0, shadow=0.0,
    brightness=0.2, noise=0.2,
)  # fmt: skip


def _clear(**changes: object) -> SceneSettings:
    return replace(CLEAR, **changes)  # type: ignore[arg-type]


KINDS: dict[str, SceneSettings] = {
    "calm": _clear(calm=1.0),
    "fast": _clear(motion=1.5, large=0.6, solid=0.3),
    "blurred": _clear(motion=1.5, large=0.4, motion_blur=1.0, longest_blur=60.0, frame_blur=0.4),
    "fog": _clear(motion=1.5, large=0.2, fog=1.0, haze=0.6),
    "thin": _clear(motion=1.5, large=0.2, objects=(6, 14), cutouts=0.0, thin=1.0, size=(0.1, 0.6)),
    "solids": _clear(motion=1.5, large=0.4, solid=1.0),
    "repeated": _clear(motion=1.5, large=0.2, procedural=1.0),
    "dark": _clear(motion=1.5, low_light=1.0, noise=1.0),
}
"""By name; pixels of motion are those of frames of `SIZE`."""


def held_out(kind: str, textures: Textures) -> SyntheticPairs:
    """The pairs of a kind, always the same for the same textures; pair N does not depend on how many are taken."""
    return SyntheticPairs(textures, None, SIZE, KINDS[kind], seed=SEED + list(KINDS).index(kind))
