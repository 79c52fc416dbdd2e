"""The registered operators of images as variational refinement looks at them."""

from collections.abc import Sequence

from torch import Tensor

from flowzoo.operators.image_terms import cpu, definition
from flowzoo.operators.registration import register


def _fake_greys(images: Tensor, weights: Sequence[float]) -> Tensor:
    batch, _, height, width = images.shape
    return images.new_empty(batch, 1, height, width)


def _fake_contrasts(colours: Tensor) -> Tensor:
    batch, _, height, width = colours.shape
    return colours.new_empty(batch, 2, height, width)


def _fake_means(maps: Tensor, height: int, width: int) -> Tensor:
    return maps.new_empty(*maps.shape[:2], height, width)


SMOOTHED_GREYS = register(
    "smoothed_greys",
    "(Tensor images, float[] weights) -> Tensor",
    definition.smoothed_greys,
    _fake_greys,
    cpu=cpu.smoothed_greys,
)
CONTRASTS = register(
    "contrasts", "(Tensor colours) -> Tensor", definition.contrasts, _fake_contrasts, cpu=cpu.contrasts
)
AREA_MEANS = register(
    "area_means",
    "(Tensor maps, SymInt height, SymInt width) -> Tensor",
    definition.area_means,
    _fake_means,
    cpu=cpu.area_means,
)
