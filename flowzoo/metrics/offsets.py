"""How diverse the offsets of an alignment are, and how close to optical flow.

After Chan, Wang, Yu, Dong, Loy: "Understanding Deformable Alignment in Video Super-Resolution", AAAI 2021, sections 4.1
and 4.2 and appendix A.5. Where the paper leaves a measure open, the docstring says what is meant here. Offsets are
(B,2*K,H,W) for K = G*N offsets, channel 2k = dy, 2k+1 = dx; flow is (B,2,H,W), x then y; both in pixels of this grid.
"""

from dataclasses import dataclass

from torch import Tensor

from flowzoo.errors import InputError


@dataclass(frozen=True)
class OffsetMeasures:
    """What `offset_measures` finds.

    Attributes:
        diversity: see `diversity_map`, mean over pixels.
        within_1px: share of all offsets and pixels that are less than 1 px (Euclidean) from the flow.
        closest_within_1px: share of pixels whose nearest offset is.
        l1_distance: (K,) mean of |dx| + |dy| from the flow, of every offset.
        order: (K,) the offsets from the nearest to the farthest by that (figure 6).
        mask_mean: (K,) mean of every offset's mask, or None.
        mask_pearson: correlation of mask_mean and l1_distance (figure 17), NaN for one offset, or None.
    """

    diversity: float
    within_1px: float
    closest_within_1px: float
    l1_distance: Tensor
    order: Tensor
    mask_mean: Tensor | None = None
    mask_pearson: float | None = None


def diversity_map(offset: Tensor) -> Tensor:
    """(B,H,W): population standard deviation over a pixel's offsets, mean of both components; 0 for one offset."""
    offsets = _offsets(offset)
    deviation: Tensor = offsets.std(dim=1, unbiased=False).mean(dim=1)
    return deviation


def offset_measures(offset: Tensor, flow: Tensor, mask: Tensor | None = None) -> OffsetMeasures:
    """All measures of one alignment.

    Args:
        offset: without the taps of the kernel.
        flow: from the reference to the neighbour.
        mask: (B,K,H,W) in 0..1, or None.

    Raises:
        InputError: shapes that do not fit.
    """
    offsets = _offsets(offset)
    if flow.shape != (offset.shape[0], 2, *offset.shape[2:]):
        raise InputError(f"flow must be {(offset.shape[0], 2, *offset.shape[2:])}, got {tuple(flow.shape)}")
    difference = offsets - flow.to(offsets.dtype).flip(1).unsqueeze(1)
    length = difference.square().sum(dim=2).sqrt()
    distance = difference.abs().sum(dim=2).mean(dim=(0, 2, 3))
    means, correlation = None, None
    if mask is not None:
        if mask.shape != length.shape:
            raise InputError(f"mask must be {tuple(length.shape)}, got {tuple(mask.shape)}")
        means = mask.to(offsets.dtype).mean(dim=(0, 2, 3))
        correlation = pearson(means, distance)
    return OffsetMeasures(
        diversity=float(diversity_map(offset).mean()),
        within_1px=float((length < 1).double().mean()),
        closest_within_1px=float((length.amin(dim=1) < 1).double().mean()),
        l1_distance=distance,
        order=distance.argsort(stable=True),
        mask_mean=means,
        mask_pearson=correlation,
    )


def pearson(first: Tensor, second: Tensor) -> float:
    """Pearson's correlation of two lists of numbers; NaN where one of them does not vary."""
    if first.numel() < 2 or first.shape != second.shape:
        return float("nan")
    one, two = first.double() - first.double().mean(), second.double() - second.double().mean()
    return float((one * two).sum() / (one.square().sum() * two.square().sum()).sqrt())


def _offsets(offset: Tensor) -> Tensor:
    """(B,2*K,H,W) -> (B,K,2,H,W) in double precision."""
    if offset.dim() != 4 or offset.shape[1] % 2 or offset.shape[1] == 0:
        raise InputError(f"offset must be (B,2*G*N,H,W), got {tuple(offset.shape)}")
    batch, channels, height, width = offset.shape
    return offset.double().view(batch, channels // 2, 2, height, width)
