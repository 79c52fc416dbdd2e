"""Maps at twice their size, each channel by a window of its own, as costs that were taken at every second pixel."""

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.channel_doubling import cpu, definition
from flowzoo.operators.checks import check_maps
from flowzoo.operators.registration import in_plain_torch, is_traced


def channel_doubling(maps: Tensor, weight: Tensor) -> Tensor:
    """A transposed convolution with windows of 4x4 and stride 2, channel by channel; nothing is outside the maps.

    out[b,c,2y+i-1,2x+j-1] is the sum of weight[c,0,i,j] * maps[b,c,y,x] over all y, x, i, j that lead there.

    Args:
        maps: (B,C,H,W).
        weight: (C,1,4,4).

    Returns:
        (B,C,2H,2W), in the type of `maps` or autocast's; in inference on a CPU channels last.

    Raises:
        InputError: shapes that do not go together.
    """
    check_maps("maps", maps)
    if tuple(weight.shape) != (maps.shape[1], 1, 4, 4):
        raise InputError(f"weight must have the shape {(maps.shape[1], 1, 4, 4)}, got {tuple(weight.shape)}")
    found = None if is_traced() or in_plain_torch() else cpu.channel_doubling(maps, weight)
    return definition.channel_doubling(maps, weight) if found is None else found
