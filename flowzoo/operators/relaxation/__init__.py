"""Red-black SOR for the linear systems of variational flow: two unknowns a pixel, coupled to the four neighbours."""

from torch import Tensor

from flowzoo.operators.checks import check_maps, check_real, check_shape, check_whole
from flowzoo.operators.relaxation.registered import RELAXATION


def relaxation(system: Tensor, step: Tensor, sweeps: int, factor: float) -> Tensor:
    """`step` after `sweeps` SOR sweeps from where it is: the pixels with even x + y, then the others.

    Args:
        system: (B,7,H,W): a11, a12, a22, b1, b2, and the weights of the edges to the right and to the lower neighbour,
            0 at the borders. At every pixel, with n over its neighbours and w the weight of the edge:
            a11 du + a12 dv + sum w (du - du_n) = b1,    a12 du + a22 dv + sum w (dv - dv_n) = b2.
        step: (B,2,H,W), du and dv to start from.
        sweeps: number of them, from 0 up.
        factor: of over-relaxation, 1 to 2.

    Returns:
        (B,2,H,W), without gradient.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    check_maps("step", step, channels=2)
    batch, _, height, width = step.shape
    check_shape("system", system, (batch, 7, height, width), "step", step)
    check_whole("sweeps", sweeps, 0)
    check_real("factor", factor)
    result: Tensor = RELAXATION(system, step, sweeps, factor)
    return result
