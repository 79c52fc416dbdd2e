"""Rows or columns of maps as weighted sums of others: resampling that works along one axis after the other."""

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_maps
from flowzoo.operators.registration import is_traced
from flowzoo.operators.weighted_sums import cpu, definition


def weighted_sums(maps: Tensor, axis: int, index: Tensor, weight: Tensor) -> Tensor:
    """Result i is the sum over t of weight[t,i] times what stands at index[t,i] along the axis.

    Args:
        maps: (B,C,H,W).
        axis: 2 or 3.
        index: (taps,outputs), whole numbers, each one of the axis' places.
        weight: (taps,outputs), in the type of `maps`.

    Returns:
        (B,C,outputs,W), or (B,C,H,outputs).

    Raises:
        InputError: another axis, shapes that do not go together.
    """
    check_maps("maps", maps)
    if axis not in (2, 3):
        raise InputError(f"axis must be 2 or 3, got {axis}")
    if index.dim() != 2 or index.shape != weight.shape or index.shape[0] == 0:
        raise InputError(
            f"index and weight must have one shape (taps,outputs), got {tuple(index.shape)} and {tuple(weight.shape)}"
        )
    found = None if is_traced() else cpu.weighted_sums(maps, axis, index, weight)
    return definition.weighted_sums(maps, axis, index, weight) if found is None else found
