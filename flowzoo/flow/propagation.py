"""Carrying flow forward along itself: where the next frame's flow may start (RAFT, section 3.5, "warm start")."""

import torch
from torch import Tensor

REACH = 2
"""Grid points next to where a vector lands that are offered it first."""
TILE = 16
"""Side of the squares of grid points that are looked after together where a vector landed further away."""
EXACT = "donot_use_mm_for_euclid_dist"


def propagated(flow: Tensor) -> Tensor:
    """Every vector moved to where it points; each grid point takes the one that landed nearest.

    Vectors that lead to the border or out of the grid are dropped (x and y must stay strictly between 0 and the side);
    where all do, the result is zero.

    Args:
        flow: (B,2,H,W), x then y, pixels of this grid.

    Returns:
        (B,2,H,W).
    """
    return torch.stack([_propagated(one) for one in flow]) if len(flow) else flow


def _propagated(flow: Tensor) -> Tensor:
    height, width = flow.shape[1:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    grid = torch.stack([x, y]).to(flow.dtype)
    landed = (grid + flow).flatten(1)
    sides = landed.new_tensor([width, height]).view(2, 1)
    staying = ((landed > 0) & (landed < sides)).all(dim=0)
    if not staying.any():
        return torch.zeros_like(flow)
    landed, vectors = landed[:, staying], flow.flatten(1)[:, staying]
    nearest = _nearest(landed, height, width)
    return vectors[:, nearest].view_as(flow)


def _nearest(points: Tensor, height: int, width: int) -> Tensor:
    """For each grid point, row by row, the index of the nearest of `points` (2,N), x then y; of several, the first."""
    found, distance = _offered(points, height, width)
    # A point further away than this may not have been offered.
    left = (distance > (REACH - 0.5) ** 2).nonzero().flatten()
    row, column = left // width, left % width
    for tile in ((row // TILE) * width + column // TILE).unique():
        here = left[(row // TILE) * width + column // TILE == tile]
        found[here] = _nearest_around(points, torch.stack([here % width, here // width]).to(points.dtype))
    return found


def _nearest_around(points: Tensor, places: Tensor) -> Tensor:
    """For neighbouring `places` (2,n), the index of the nearest point, sought in a box that grows until it must be."""
    low, high = (bound.view(2, 1) for bound in (places.amin(dim=1), places.amax(dim=1)))
    reach = float(TILE)
    while True:
        inside = ((points >= low - reach) & (points <= high + reach)).all(dim=0).nonzero().flatten()
        if len(inside):
            apart = torch.cdist(places.T.double(), points[:, inside].T.double(), compute_mode=EXACT)
            nearest, which = apart.min(dim=1)
            if len(inside) == points.shape[1] or nearest.max() <= reach:
                return inside[which]
        reach *= 2


def _offered(points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The nearest of the points within REACH of each grid point, and its squared distance (infinite without one)."""
    number = torch.arange(points.shape[1], device=points.device)
    distance = points.new_full((height * width,), torch.inf)
    found = number.new_zeros(height * width)
    column, row = points.round().long()
    steps = range(-REACH, REACH + 1)
    offers = []
    for x, y in ((column + i, row + j) for i in steps for j in steps):
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        place = (y * width + x)[inside]
        apart = ((x - points[0]).square() + (y - points[1]).square())[inside]
        distance.scatter_reduce_(0, place, apart, "amin")
        offers.append((place, apart, number[inside]))
    found.fill_(points.shape[1])
    for place, apart, who in offers:
        best = apart == distance[place]
        found.scatter_reduce_(0, place[best], who[best], "amin")
    return found, distance
