"""The two images' maps out of one batch."""

from torch import Tensor


def halves(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(2B,...) -> the first images' maps and the second ones', (B,...) each.

    As `maps.chunk(2)`, whose number of results would tie a traced program to the batch it was traced with.
    """
    batch = maps.shape[0] // 2
    return maps[:batch], maps[batch:]
