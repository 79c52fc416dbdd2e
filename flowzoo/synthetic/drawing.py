"""Draws scenes: everything random about a pair follows from (seed, index) alone."""

import numpy as np

from flowzoo.synthetic.geometric import draw_matching_scene
from flowzoo.synthetic.scene import Scene
from flowzoo.synthetic.settings import SceneSettings
from flowzoo.synthetic.solid import SolidDraw
from flowzoo.synthetic.varied import VariedDraw


def generator(seed: int, index: int) -> np.random.Generator:
    """The random numbers of pair `index`, the same wherever and whenever it is rendered."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index))))


def draw_scene(seed: int, index: int, size: tuple[int, int], settings: SceneSettings, *, cutouts: bool) -> Scene:
    """Pair `index` of `seed` at `size` (height, width); `cutouts`: whether there are cut-outs to draw from."""
    rng = generator(seed, index)
    if settings.kind != "varied":
        return draw_matching_scene(rng, size, settings, cutouts=cutouts)
    if settings.solid and rng.random() < settings.solid:
        return SolidDraw(rng, size, settings, cutouts).scene()
    return VariedDraw(rng, size, settings, cutouts).scene()
