"""Global correlation: every position against every other."""

from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_maps, check_same_kind


def global_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Dot products (plain sums over channels) of every position of `first` with every position of `second`.

    out[b, y2*W2 + x2, y1, x1] = sum_c first[b,c,y1,x1] * second[b,c,y2,x2]: the coarsest cost volume of GLU-Net
    (section 3.1) and GOCor, which normalise the features beforehand.

    Args:
        first: (B,C,H1,W1) features.
        second: (B,C,H2,W2) features.

    Returns:
        (B,H2*W2,H1,W1).

    Raises:
        InputError: batch, channels or devices differ.
    """
    check_maps("first", first)
    check_maps("second", second)
    check_same_kind("first", first, "second", second)
    if first.shape[:2] != second.shape[:2]:
        raise InputError(
            f"first and second must share batch and channels, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    height, width = first.shape[2:]
    volume = second.flatten(2).transpose(1, 2) @ first.flatten(2)
    found: Tensor = volume.unflatten(2, (height, width))
    return found
