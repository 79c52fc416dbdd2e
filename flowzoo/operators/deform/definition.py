"""Deformable convolution in plain torch: the definition of `deform` and of its gradients.

One tap after the other is read and multiplied by that tap's weights. Reading works in whole pixels and shares, both
exact: `floor(offset)` and `offset - floor(offset)`. Coordinates scaled to -1..1 and back would land in the neighbouring
cell for some whole-number offsets, and all offsets are whole numbers when training starts.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowzoo.operators.precision import without_autocast, working_dtype


class Grid(NamedTuple):
    """Where reading starts: tap n of pixel p at stride * p - padding + step * (n // tap_columns, n % tap_columns).

    All pairs are (y, x).
    """

    tap_columns: int
    stride: Sequence[int]
    padding: Sequence[int]
    step: Sequence[int]
    legacy: bool  # the border rule of 2017, see `flowzoo.operators.deform`

    @property
    def numbers(self) -> tuple[int, ...]:
        """All of them, for a kernel."""
        return self.tap_columns, *self.stride, *self.padding, *self.step, self.legacy


class _Corner(NamedTuple):
    """One of the four neighbours of all places of a tap, (B,G,h,w)."""

    place: Tensor  # row in the table of its image and group
    inside: Tensor  # whether it is read at all
    along: Tensor  # its share along y
    across: Tensor  # along x
    sign_y: int  # of the shares' derivatives
    sign_x: int

    def share(self) -> Tensor:
        """Of the value that is read."""
        return torch.where(self.inside, self.along * self.across, 0.0)


class _Problem:
    """What all taps share: the tables that are read, and from where."""

    def __init__(
        self,
        features: Tensor,
        offset: Tensor,
        taps: int,
        grid: Grid,
    ) -> None:
        self.dtype = working_dtype(features)
        batch, channels, *self.size = features.shape
        self.groups = offset.shape[1] // (2 * taps)
        height, width = self.size
        # Rows of the table are the pixels of one group: a place reads whole rows.
        table = features.to(self.dtype).reshape(batch, self.groups, channels // self.groups, height * width)
        self.table = table.transpose(2, 3).reshape(batch * self.groups * height * width, channels // self.groups)
        self.offsets = offset.to(self.dtype).reshape(batch, self.groups, taps, 2, *offset.shape[2:])
        rows, columns = offset.shape[2:]
        self.rows = torch.arange(rows, device=offset.device).view(-1, 1) * grid.stride[0] - grid.padding[0]
        self.columns = torch.arange(columns, device=offset.device) * grid.stride[1] - grid.padding[1]
        starts = torch.arange(batch * self.groups, device=offset.device)
        self.starts = starts.view(batch, self.groups, 1, 1) * (height * width)
        self.grid = grid
        # An offset as large as this leads out of the map, whatever tap it starts from.
        self.far = float(height + width + 2 + sum(grid.padding) + rows * grid.stride[0] + columns * grid.stride[1])
        self.far += taps * sum(grid.step)

    def corners(self, tap: int) -> Iterator[_Corner]:
        """The four neighbours of every place of a tap."""
        height, width = self.size
        offset = self.offsets[:, :, tap]
        limited = torch.where(offset.abs() <= self.far, offset, self.far)
        lowest = limited.detach().floor()
        share = limited - lowest
        top = lowest[:, :, 0].long() + (self.rows + tap // self.grid.tap_columns * self.grid.step[0])
        left = lowest[:, :, 1].long() + (self.columns + tap % self.grid.tap_columns * self.grid.step[1])
        down, right = share[:, :, 0], share[:, :, 1]
        least = 0 if self.grid.legacy else -1
        counts = (top >= least) & (top < height) & (left >= least) & (left < width)
        if not self.grid.legacy:
            # Exactly one pixel outside does not count: it reads 0 anyway, but would have a derivative.
            counts = counts & ~((top == -1) & (down == 0)) & ~((left == -1) & (right == 0))
        for lower in (0, 1):
            for later in (0, 1):
                y, x = top + lower, left + later
                if self.grid.legacy:
                    y, x = y.clamp(max=height - 1), x.clamp(max=width - 1)
                inside = counts & (y >= 0) & (y < height) & (x >= 0) & (x < width)
                place = self.starts + torch.where(inside, y * width + x, 0)
                along, across = (down if lower else 1 - down), (right if later else 1 - right)
                yield _Corner(place, inside, along, across, 2 * lower - 1, 2 * later - 1)

    def rows_at(self, corner: _Corner) -> Tensor:
        """(B,G,h*w,C/G) features of a neighbour."""
        rows = self.table.index_select(0, corner.place.flatten())
        return rows.view(*corner.place.shape, self.table.shape[1]).flatten(2, 3)

    def column(self, values: Tensor) -> Tensor:
        """(B,G,h,w) -> (B,G,h*w,1), a factor for `rows_at`."""
        return values.flatten(2).unsqueeze(3)


def deform(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    *grid: Any,
) -> Tensor:
    """(B,C,H,W), (B,2*G*N,h,w), (O,C,N), (O), (B,G*N,h,w), `Grid` -> (B,O,h,w); of differentiable steps."""
    outputs, _, taps = weight.shape
    batch, _, rows, columns = offset.shape
    with without_autocast(features.device):
        problem = _Problem(features, offset, taps, Grid(*grid))
        dtype, weights = problem.dtype, weight.to(problem.dtype)
        total = problem.table.new_zeros(batch, rows * columns, outputs)
        for tap in range(taps):
            read = problem.table.new_zeros(())
            for corner in problem.corners(tap):
                read = read + problem.rows_at(corner) * problem.column(corner.share())
            if mask is not None:
                shown = mask.reshape(batch, problem.groups, taps, rows, columns)[:, :, tap]
                read = read * problem.column(shown.to(dtype))
            total = total + read.transpose(1, 2).flatten(2) @ weights[:, :, tap].t()
        if bias is not None:
            total = total + bias.to(dtype)
    return total.transpose(1, 2).reshape(batch, outputs, rows, columns).to(features.dtype)


def deform_backward(
    gradient: Tensor,
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    *grid: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients to features, offset, weight and mask (empty without one)."""
    taps = weight.shape[2]
    batch, _, rows, columns = offset.shape
    problem = _Problem(features, offset, taps, Grid(*grid))
    dtype, groups = problem.dtype, problem.groups
    incoming, weights = gradient.to(dtype).flatten(2), weight.to(dtype)
    to_table = torch.zeros_like(problem.table)
    to_offset = torch.zeros_like(problem.offsets, memory_format=torch.contiguous_format)
    to_weight = torch.zeros_like(weights, memory_format=torch.contiguous_format)
    to_mask = incoming.new_zeros(batch, groups, taps, rows, columns)
    for tap in range(taps):
        wanted = (incoming.transpose(1, 2) @ weights[:, :, tap]).unflatten(2, (groups, -1)).transpose(1, 2)
        shown = wanted.new_ones(()) if mask is None else mask.to(dtype).view_as(to_mask)[:, :, tap]
        read = torch.zeros_like(wanted)
        for corner in problem.corners(tap):
            vectors = problem.rows_at(corner) * problem.column(corner.inside)
            read += vectors * problem.column(corner.share())
            dots = (vectors * wanted).sum(dim=3).view_as(corner.place)
            to_mask[:, :, tap] += dots * corner.along * corner.across
            to_offset[:, :, tap, 0] += dots * shown * corner.across * corner.sign_y
            to_offset[:, :, tap, 1] += dots * shown * corner.along * corner.sign_x
            share = problem.column(corner.share() * shown)
            to_table.index_add_(0, corner.place.flatten(), (wanted * share).flatten(0, 2))
        if mask is not None:
            read = read * problem.column(shown)
        to_weight[:, :, tap] = (incoming @ read.transpose(1, 2).flatten(2)).sum(dim=0)
    to_features = (
        to_table.view(batch, groups, features.shape[2] * features.shape[3], to_table.shape[1])
        .transpose(2, 3)
        .reshape(features.shape)
    )
    return (
        to_features.to(features.dtype).contiguous(),
        to_offset.reshape(offset.shape).to(offset.dtype),
        to_weight.to(weight.dtype),
        to_mask.new_empty(0) if mask is None else to_mask.reshape(mask.shape).to(mask.dtype),
    )
