"""Images as variational refinement looks at them: smoothed grey levels, contrasts of neighbours, smaller copies."""

from collections.abc import Sequence

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_maps, check_real, check_whole
from flowzoo.operators.image_terms.registered import AREA_MEANS, CONTRASTS, SMOOTHED_GREYS


def smoothed_greys(images: Tensor, weights: Sequence[float]) -> Tensor:
    """Mean colours, smoothed along both axes.

    Args:
        images: (B,3,H,W) RGB in [0,1].
        weights: of a pixel's neighbours and, in the middle, of itself; an odd number of them; edges are replicated.

    Returns:
        (B,1,H,W) in 0..255 (where the weights sum up to 1), without gradient.

    Raises:
        InputError: shapes or numbers that do not fit.
    """
    check_maps("images", images, channels=3)
    if len(weights) % 2 == 0:
        raise InputError(f"weights must be an odd number of them, got {len(weights)}")
    for weight in weights:
        check_real("weights", weight)
    result: Tensor = SMOOTHED_GREYS(images, list(weights))
    return result


def contrasts(colours: Tensor) -> Tensor:
    """How much each pixel's colour differs from those of its right and its lower neighbour.

    Args:
        colours: (B,3,H,W), any unit.

    Returns:
        (B,2,H,W), the largest difference among the three components, in the same unit; 0 at the last column and the
        last row. Without gradient.

    Raises:
        InputError: no such shape.
    """
    check_maps("colours", colours, channels=3)
    result: Tensor = CONTRASTS(colours)
    return result


def area_means(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps of another size: each pixel is the mean of those that it covers, also in part.

    Args:
        maps: (B,C,H,W).
        height, width: of the result, pixels.

    Returns:
        (B,C,height,width), without gradient.

    Raises:
        InputError: shapes or numbers that do not fit.
    """
    check_maps("maps", maps)
    check_whole("height", height, 1)
    check_whole("width", width, 1)
    result: Tensor = AREA_MEANS(maps, height, width)
    return result
