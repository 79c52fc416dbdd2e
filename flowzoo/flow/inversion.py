"""Inverting flow: from A to B becomes from B to A."""

from collections.abc import Iterator

import torch
from torch import Tensor

from flowzoo.flow.intermediate import filled
from flowzoo.flow.kinds import Maps, flow_in
from flowzoo.flow.sampling import Rows, linear_at, rows_of, vectors_at
from flowzoo.operators import splat

ITERATIONS = 30
CLOSE = 1e-4
"""Pixels at which the search for a point ends."""
ACCEPTED = 0.01
"""Pixels by which a point that was found may miss; beyond that none leads there."""
_EMPTY, _AT_PIXEL = 1e-3, 0.01


def invert(flow: Maps, stretch: float = 4.0) -> Maps:
    """The flow back: at q it is p - q for a point p with p + flow(p) = q.

    Newton's method on the bilinear field, from where `flow`, splatted, says that q came from; exact for affine flow.

    Args:
        flow: from A to B, two images of one size (shapes: see `flowzoo.flow`).
        stretch: neighbours that end further apart than so many pixels lie on both sides of an edge, and there is
            nothing between them; below it the field is continuous.

    Returns:
        Flow from B to A; NaN where no point of A is found that leads there to within 0.01 px (it came into view, or
        lay outside, or `flow` is unknown there). Where several do, of the one that moves most, as a rule. Not
        differentiable.

    Raises:
        InputError: a shape that flow does not have.
    """
    field, kind = flow_in("flow", flow)
    return kind.back(_inverted(field.detach(), stretch))  # type: ignore[no-any-return]


def _inverted(flow: Tensor, stretch: float) -> Tensor:
    batch, _, height, width = flow.shape
    known = flow.isfinite().all(dim=1, keepdim=True)
    whole = flow if known.all() else filled(torch.where(known, flow, 0.0), known)
    rows, whole_rows = rows_of(flow), rows_of(whole)
    index = torch.arange(batch * height * width, device=flow.device)
    back = torch.full_like(rows.vectors, torch.nan)
    for start in _starts(whole, known):
        # The places of B for which no point is known yet.
        image, at = index // (height * width), _place(index, height, width).to(flow.dtype)
        point = _search(whole_rows, image, at, at + rows_of(start).vectors[index])
        missed = (point + vectors_at(rows, image, *point.unbind(1)) - at).square().sum(1).sqrt()
        right = (missed <= ACCEPTED) & _continuous(whole_rows, image, point, stretch)
        back[index[right]] = (point - at)[right]
        index = index[~right]
        if len(index) == 0:
            break
    return back.view(batch, height, width, 2).permute(0, 3, 1, 2)


def _place(index: Tensor, height: int, width: int) -> Tensor:
    """(N,2): x and y of the pixels of a batch that have these numbers."""
    return torch.stack([index % width, index // width % height], dim=1)


def _continuous(rows: Rows, image: Tensor, point: Tensor, stretch: float) -> Tensor:
    """Whether points are pixels, or lie between pixels that end near each other."""
    _, by_x, by_y = linear_at(rows, image, *point.unbind(1))
    across, down = ((point - point.round()).abs() > _AT_PIXEL).unbind(1)
    torn_x = torch.hypot(1 + by_x[:, 0], by_x[:, 1]) > stretch
    torn_y = torch.hypot(by_y[:, 0], 1 + by_y[:, 1]) > stretch
    return ~((across & torn_x) | (down & torn_y))


def _starts(flow: Tensor, known: Tensor) -> Iterator[Tensor]:
    """Minus the flow of what lands at each pixel, from around where nothing does: of several that land the fastest
    (what moves more is nearer, as a rule), then all alike, then the slowest."""
    length = flow.square().sum(dim=1, keepdim=True).sqrt()
    share = length / length.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    for weight in ((share + 0.01) ** 4, torch.ones_like(share), (share + 0.01) ** -4):
        weight = torch.where(known, weight, 0.0)
        landed = splat(torch.cat([weight, weight * flow, known.to(flow.dtype)], dim=1), flow)
        yield -filled(landed[:, 1:3] / landed[:, :1].clamp(min=1e-12), landed[:, 3:] > _EMPTY)


def _search(rows: Rows, image: Tensor, target: Tensor, start: Tensor) -> Tensor:
    """Points (N,2) that flow takes as close to the targets as can be reached from a start, by damped Newton steps."""
    found = start.clone()
    left = torch.arange(len(start), device=start.device)
    point, damping = start, torch.ones_like(start[:, :1])
    error, step = _newton(rows, image, target, point)
    for _ in range(ITERATIONS):
        going = error[:, 0] > CLOSE
        found[left] = point
        left, image, target, point = left[going], image[going], target[going], point[going]
        damping, error, step = damping[going], error[going], step[going]
        if len(left) == 0:
            break
        candidate = point + damping * step
        new_error, new_step = _newton(rows, image, target, candidate)
        better = new_error < error
        point, step = torch.where(better, candidate, point), torch.where(better, new_step, step)
        error = torch.where(better, new_error, error)
        damping = torch.where(better, (2 * damping).clamp(max=1), damping / 2)
    found[left] = point
    return found


def _newton(rows: Rows, image: Tensor, target: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    """How far from the target a point is taken, pixels (N,1), and the step that would mend it were the flow linear."""
    value, by_x, by_y = linear_at(rows, image, *point.unbind(1))
    miss = point + value - target
    a, b, c, d = 1 + by_x[:, 0], by_y[:, 0], by_x[:, 1], 1 + by_y[:, 1]
    determinant = a * d - b * c
    singular = determinant.abs() < 1e-6
    safe = torch.where(singular, 1.0, determinant)
    step = torch.stack([b * miss[:, 1] - d * miss[:, 0], c * miss[:, 0] - a * miss[:, 1]], dim=1) / safe.unsqueeze(1)
    # Where the map folds, the step of plain iteration.
    step = torch.where(singular.unsqueeze(1), -miss, step)
    return miss.square().sum(1, keepdim=True).sqrt(), step
