"""Weighted sums in plain torch: the definition of `weighted_sums`."""

from torch import Tensor


def weighted_sums(maps: Tensor, axis: int, index: Tensor, weight: Tensor) -> Tensor:
    """(B,C,H,W), (taps,outputs) twice -> (B,C,outputs,W) or (B,C,H,outputs)."""
    if axis == 3:
        # Picking whole rows is several times faster than picking single pixels out of each row.
        return weighted_sums(maps.transpose(2, 3), 2, index, weight).transpose(2, 3)
    maps = maps.contiguous()
    total = maps.index_select(2, index[0]) * weight[0].view(-1, 1)
    for tap_index, tap_weight in zip(index[1:], weight[1:], strict=True):
        total = total.addcmul_(maps.index_select(2, tap_index), tap_weight.view(-1, 1))
    return total
