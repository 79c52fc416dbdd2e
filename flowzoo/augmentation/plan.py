"""Everything that is drawn at random for one training pair, before anything is done to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowzoo.augmentation.colour import ChromaticPlan, ColourPlan, draw_chromatic, draw_colour
from flowzoo.augmentation.settings import AugmentationSettings
from flowzoo.augmentation.spatial import SpatialPlan, draw_spatial

POOL_MARGIN = 192  # the noise of a frame is cut from a pool at one of 192 x 192 places


@dataclass(frozen=True)
class AugmentationPlan:
    """What becomes of one pair.

    Attributes:
        spatial: where the crops come from.
        colours: changes of the first and of the second frame.
        chromatic: FlowNet2's change of both, or None.
        noise: standard deviation of Gaussian noise on the 0..1 scale.
        noise_places: (2, 2) whole numbers, top and left in the pool of noise, of either frame.
        erased: (top, left, rows, columns) of rectangles of the second frame that get its mean colour.
    """

    spatial: SpatialPlan
    colours: tuple[ColourPlan, ColourPlan]
    chromatic: ChromaticPlan | None
    noise: float
    noise_places: NDArray[np.int64]
    erased: tuple[tuple[int, int, int, int], ...]


def draw_plan(
    rng: np.random.Generator,
    settings: AugmentationSettings,
    size: tuple[int, int],
    crop: tuple[int, int],
    strength: float = 1.0,
) -> AugmentationPlan:
    """A plan for frames of `size` (height, width); `strength` scales the relative motion between the frames.

    Raises:
        InputError: the crop does not fit the frames.
    """
    spatial = draw_spatial(rng, settings, size, crop, strength)
    colours = draw_colour(rng, settings)
    change = None
    if settings.chromatic and rng.random() < settings.colour:
        change = draw_chromatic(rng)
    noise = rng.uniform(*settings.noise)
    places = rng.integers(POOL_MARGIN, size=(2, 2))
    erased: tuple[tuple[int, int, int, int], ...] = ()
    if rng.random() < settings.eraser:
        erased = draw_rectangles(rng, settings.eraser_size, crop)
    return AugmentationPlan(spatial, colours, change, noise, places, erased)


def draw_rectangles(
    rng: np.random.Generator, size: tuple[float, float], crop: tuple[int, int]
) -> tuple[tuple[int, int, int, int], ...]:
    """One or two rectangles with sides from `size`, pixels, that begin inside the crop."""
    found = []
    for _ in range(int(rng.integers(1, 3))):
        top, left = int(rng.integers(crop[0])), int(rng.integers(crop[1]))
        rows, columns = (max(1, round(rng.uniform(*size))) for _ in range(2))
        found.append((top, left, rows, columns))
    return tuple(found)
