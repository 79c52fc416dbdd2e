"""Both images' maps of each pair beside each other, as what is normalised together."""

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_maps
from flowzoo.operators.paired_planes.registered import PAIRED_PLANES


def paired_planes(maps: Tensor) -> Tensor:
    """Maps of the first images and behind them those of the second ones, pair by pair.

    Args:
        maps: (2B,C,H,W), fastest in channels-last layout.

    Returns:
        (B,C,2,H,W).

    Raises:
        InputError: no such shape.
    """
    check_maps("maps", maps)
    if maps.shape[0] % 2:
        raise InputError(f"maps must be those of pairs, an even number of them, got shape {tuple(maps.shape)}")
    result: Tensor = PAIRED_PLANES(maps)
    return result
