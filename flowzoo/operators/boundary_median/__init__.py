"""Weighted median of a flow where motions meet (Sun, Roth, Black: "Secrets of Optical Flow Estimation", CVPR 2010)."""

from torch import Tensor

from flowzoo.operators.boundary_median.registered import BOUNDARY_MEDIAN
from flowzoo.operators.checks import check_flow, check_maps, check_real, check_shape, check_whole


def boundary_median(
    colours: Tensor, flow: Tensor, trust: Tensor, spacing: int, disagreement: float, likeness: float
) -> Tensor:
    """Each component of the flow as the weighted median of 25 neighbours, where these do not agree.

    Args:
        colours: (B,3,H,W) in 0..255. A neighbour weighs more the more its colour is like that of the pixel.
        flow: (B,2,H,W), x then y, pixels.
        trust: (B,1,H,W), factors of the weights.
        spacing: pixels between neighbours, two to each side; edges are replicated.
        disagreement: pixels; where all neighbours' flows differ by at most this, the flow stays.
        likeness: standard deviation of the weight by colour, in grey levels.

    Returns:
        (B,2,H,W), without gradient.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("colours", colours, channels=3)
    check_flow(flow, "colours", colours)
    batch, _, height, width = colours.shape
    check_shape("trust", trust, (batch, 1, height, width), "colours", colours)
    check_whole("spacing", spacing, 1)
    check_real("disagreement", disagreement)
    check_real("likeness", likeness)
    numbers = spacing, disagreement, likeness
    result: Tensor = BOUNDARY_MEDIAN(colours, flow, trust, *numbers)
    return result
