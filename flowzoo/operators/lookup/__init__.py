"""RAFT's correlation: every pixel's features against those around where it looks, on a pyramid of the second map.

Two forms give the same numbers. *Stored*: all pairs are multiplied once, and read in every look-up; their memory grows
with the square of the pixels. *On demand*: a look-up computes what it reads; its memory grows with the pixels.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.operators.checks import check_maps, check_same_kind
from flowzoo.operators.lookup import definition
from flowzoo.operators.lookup.cpu import has_kernel
from flowzoo.operators.lookup.registered import LOOKUP
from flowzoo.operators.precision import without_autocast, working_dtype

Form = Literal["auto", "stored", "on-demand"]

STORED_BYTES = 1e9
"""What the volumes of all pairs may take where nobody has said otherwise."""


class Lookup(Protocol):
    """Costs around coordinates; see `lookup`."""

    def __call__(self, coordinates: Tensor) -> Tensor:
        """(B,2,h,w) -> (B,levels*(2*radius+1)^2,h,w)."""


@dataclass  # torch 2.7 traces no frozen ones
class StoredLookup:
    """Reads from the pyramid of all pairs' volumes, each (B*h*w,H_l*W_l), of second maps of `size`."""

    pyramid: list[Tensor]
    size: tuple[int, int]
    radius: int
    dtype: torch.dtype

    def __call__(self, coordinates: Tensor) -> Tensor:
        """See `Lookup`."""
        return definition.read_volumes(self.pyramid, coordinates, self.size, self.radius).to(self.dtype)


@dataclass  # torch 2.7 traces no frozen ones
class OnDemandLookup:
    """Multiplies what it reads: `first` (B,C,h,w) and the packed pyramid of the second features, (B,N,C)."""

    first: Tensor
    table: Tensor
    size: tuple[int, int]
    radius: int
    levels: int

    def __call__(self, coordinates: Tensor) -> Tensor:
        """See `Lookup`."""
        result: Tensor = LOOKUP(self.first, self.table, coordinates, *self.size, self.radius, self.levels)
        return result


def volume_bytes(first: Tensor, second: Tensor, levels: int) -> int:
    """What the volumes of all pairs take."""
    sizes = definition.level_sizes((second.shape[2], second.shape[3]), levels)
    numbers = first.shape[0] * first.shape[2] * first.shape[3] * sum(height * width for height, width in sizes)
    return numbers * working_dtype(first).itemsize


def prepare_lookup(
    first: Tensor, second: Tensor, radius: int, levels: int, form: Form = "auto", memory: float = STORED_BYTES
) -> Lookup:
    """What look-ups at many coordinates share, done once.

    Args:
        first, second, radius, levels: as for `lookup`.
        form: "stored", "on-demand", or "auto": on demand where a native kernel does it, which is faster at any size;
            elsewhere stored where that takes at most `memory` bytes.
        memory: bytes.

    Raises:
        InputError: as for `lookup`.
    """
    check_maps("first", first)
    check_maps("second", second)
    check_same_kind("first", first, "second", second)
    if first.shape[:2] != second.shape[:2]:
        raise InputError(
            f"first and second must have one batch and one number of channels, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if radius < 0 or levels < 1:
        raise InputError(f"radius must be >= 0 and levels >= 1, got radius {radius}, levels {levels}")
    if form == "auto":
        fits = volume_bytes(first, second, levels) <= memory
        form = "stored" if fits and not has_kernel(radius, levels, first, second) else "on-demand"
    size = (second.shape[2], second.shape[3])
    if first.device.type != "meta" and torch.is_autocast_enabled(first.device.type):
        with without_autocast(first.device):
            wide = [maps.to(working_dtype(maps)) for maps in (first, second)]
            return prepare_lookup(wide[0], wide[1], radius, levels, form, memory)
    if form == "stored":
        return StoredLookup(definition.volumes(first, second, levels), size, radius, first.dtype)
    return OnDemandLookup(first, definition.packed(second, levels), size, radius, levels)


def lookup(
    first: Tensor, second: Tensor, coordinates: Tensor, radius: int, levels: int, form: Form = "on-demand"
) -> Tensor:
    """Every pixel's correlation with the surroundings of its coordinates, on a pyramid of `second` (RAFT, section 3.2).

    With S_0 = `second` and S_{l+1} the 2x2 means of S_l (an odd last row or column is left out),

        out[b, l*(2r+1)^2 + (i+r)*(2r+1) + (j+r), y, x] = <first[b,:,y,x], S_l[b,:,(c_x, c_y) / 2^l + (i, j)]> / sqrt(C)

    for i (along x, the slow index) and j (along y) in -r..r; read bilinearly, each neighbour outside counts as zero.

    Args:
        first: (B,C,h,w) features.
        second: (B,C,H,W) features.
        coordinates: (B,2,h,w), x then y, pixels of `second`; NaN and infinity are outside.
        radius: from 0 up.
        levels: from 1 up; a level of which nothing is left is zero.
        form: how it is computed: "on-demand", "stored", or "auto" (see `prepare_lookup`); the values agree.

    Returns:
        (B,levels*(2r+1)^2,h,w), of the features' dtype. Differentiable any number of times in all three tensors.

    Raises:
        InputError: shapes, devices or numbers that do not fit.
    """
    prepared = prepare_lookup(first, second, radius, levels, form)
    wanted = (first.shape[0], 2, *first.shape[2:])
    if coordinates.shape != wanted:
        raise InputError(f"coordinates must be {wanted} to match first, got {tuple(coordinates.shape)}")
    check_same_kind("coordinates", coordinates, "first", first)
    return prepared(coordinates)
