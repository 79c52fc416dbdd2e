"""What one pixel's flow error costs."""

from collections.abc import Callable

from torch import Tensor

from flowzoo.errors import InputError

Penalty = Callable[[Tensor], Tensor]
"""Error (B, 2, h, w) -> cost (B, h, w)."""


def charbonnier(power: float, epsilon: float) -> Penalty:
    """(du^2 + dv^2 + epsilon)^power, the generalised Charbonnier penalty.

    Power 0.5 and epsilon 0.01 is the "L2" loss of LiteFlowNet and PWC-Net (Caffe's L1Loss with l2_per_location);
    power 0.2 and epsilon 0.01 that of LiteFlowNet's fine-tuning.

    Raises:
        InputError: power or epsilon is not positive (the gradient at 0 would be infinite).
    """
    _check(power, epsilon)
    return lambda error: (error.square().sum(dim=1) + epsilon).pow(power)


def robust_l1(power: float, epsilon: float) -> Penalty:
    """(|du| + |dv| + epsilon)^power; PWC-Net fine-tunes with power 0.4 and epsilon 0.01 (section 4).

    Raises:
        InputError: power or epsilon is not positive.
    """
    _check(power, epsilon)
    return lambda error: (error.abs().sum(dim=1) + epsilon).pow(power)


def _check(power: float, epsilon: float) -> None:
    if not (power > 0 and epsilon > 0):
        raise InputError(f"a penalty needs a positive exponent and epsilon, not {power} and {epsilon}")
