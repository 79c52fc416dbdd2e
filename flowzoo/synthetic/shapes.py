"""Outlines of moving objects as signed distances: polygons, blobs, bars, discs, lattices, twigs, with or without holes.

All are drawn from a seed on a grid that covers the unit square [-1, 1]^2; positive inside, in units of half the
longer side of the object.
"""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

KINDS = ("polygon", "blob", "bar", "ring", "twig", "lattice", "frame", "ragged")


def signed_distance(kind: str, seed: int, height: int, width: int, thickness: float) -> Tensor:
    """Signed distance (height, width) of a shape; `thickness`: of the strokes of thin shapes, same units.

    `height` and `width` are in the ratio of the object's sides; the longer one spans [-1, 1].
    """
    rng = np.random.default_rng((seed, 0x54A9))
    longer = max(height, width)
    x = ((torch.arange(width) + 0.5) * 2 - width) / longer
    y = ((torch.arange(height) + 0.5) * 2 - height) / longer
    grid_x, grid_y = x.expand(height, width), y[:, None].expand(height, width)
    a, b = 0.94 * width / longer, 0.94 * height / longer
    distance = _DRAW[kind](grid_x, grid_y, a, b, thickness, rng)
    if kind in ("polygon", "blob", "bar", "ragged") and rng.random() < 0.2:
        for _ in range(int(rng.integers(1, 4))):
            radius = rng.uniform(0.1, 0.35) * min(a, b)
            cx, cy = rng.uniform(-0.6, 0.6) * a, rng.uniform(-0.6, 0.6) * b
            distance = torch.minimum(distance, torch.hypot(grid_x - cx, grid_y - cy) - radius)
    return distance


def _segments(x: Tensor, y: Tensor, points: np.ndarray) -> Tensor:
    """Squared distance to the segments (N, 4): x0, y0, x1, y1."""
    nearest = torch.full_like(x, math.inf)
    for x0, y0, x1, y1 in points.tolist():
        dx, dy = x1 - x0, y1 - y0
        px, py = x - x0, y - y0
        along = ((px * dx + py * dy) / max(dx * dx + dy * dy, 1e-9)).clamp(0, 1)
        nearest = torch.minimum(nearest, (px - along * dx).square() + (py - along * dy).square())
    return nearest


def polygon_distance(x: Tensor, y: Tensor, corners: np.ndarray) -> Tensor:
    """Signed distance of points to the polygon with the given corners (N, 2), in their units."""
    following = np.roll(corners, -1, axis=0)
    distance = _segments(x, y, np.concatenate((corners, following), axis=1)).sqrt()
    inside = torch.zeros_like(x, dtype=torch.bool)
    for (x0, y0), (x1, y1) in zip(corners.tolist(), following.tolist(), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return torch.where(inside, distance, -distance)


def _polygon(x: Tensor, y: Tensor, a: float, b: float, thickness: float, rng: np.random.Generator) -> Tensor:
    count = int(rng.integers(3, 10))
    angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * 2 * np.pi / count + rng.uniform(0, 2 * np.pi)
    radii = rng.uniform(0.45, 1.0, count) if rng.random() < 0.6 else np.ones(count)
    return polygon_distance(x, y, np.stack((a * radii * np.cos(angles), b * radii * np.sin(angles)), axis=1))


def _blob(x: Tensor, y: Tensor, a: float, b: float, thickness: float, rng: np.random.Generator) -> Tensor:
    """A Fourier outline: radius = 1 + a few harmonics, in the stretched unit circle."""
    u, v = x / a, y / b
    angle, radius = torch.atan2(v, u), torch.hypot(u, v)
    outline, slope = torch.ones_like(x), torch.zeros_like(x)
    for k in range(2, 6):
        size, phase = rng.normal(0, 0.35) / k, rng.uniform(0, 2 * np.pi)
        outline = outline + size * torch.cos(k * angle + phase)
        slope = slope - k * size * torch.sin(k * angle + phase)
    scale = 0.94 / max(float(outline.max()), 0.3)
    distance = (outline * scale - radius) / torch.sqrt(1 + (slope * scale / radius.clamp(min=0.2)).square())
    return distance * min(a, b)


def _bar(x: Tensor, y: Tensor, a: float, b: float, thickness: float, rng: np.random.Generator) -> Tensor:
    corner = rng.uniform(0, 1) * min(a, b)
    dx, dy = x.abs() - (a - corner), y.abs() - (b - corner)
    outside = torch.hypot(dx.clamp(min=0), dy.clamp(min=0))
    return corner - outside - torch.maximum(dx, dy).clamp(max=0)


def _ring(x: Tensor, y: Tensor, a: float, b: float, thickness: float, rng: np.random.Generator) -> Tensor:
    small = min(a, b)
    distance = (1 - torch.hypot(x / a, y / b)) * small
    if rng.random() < 0.4:
        return distance
    return torch.minimum(distance, max(2 * thickness, rng.uniform(0.05, 0.5) * small) - distance)


def _twig(x: Tensor, y: Tensor, a: float, b: float, thickness: float, rng: np.random.Generator) -> Tensor:
    """A stem with side branches: thin structures that meet."""
    stem = np.cumsum(rng.normal(0, 0.12, 5))
    stem -= stem.mean()
    along = np.linspace(-0.95, 0.95, 5)
    points = np.stack((along * a, np.clip(stem, -0.9, 0.9) * b), axis=1)
    segments = [np.concatenate(pair) for pair in itertools.pairwise(points)]
    for _ in range(int(rng.integers(2, 8))):
        start = points[rng.integers(5)]
        angle = rng.uniform(0, 2 * np.pi)
        end = start + rng.uniform(0.2, 0.8) * np.array((a * np.cos(angle), b * np.sin(angle)))
        segments.append(np.concatenate((start, np.clip(end, (-0.95 * a, -0.95 * b), (0.95 * a, 0.95 * b)))))
    return thickness - _segments(x, y, np.stack(segments)).sqrt()


def _lattice(x: Tensor, y: Tensor, a: float, b: float, thickness: float, rng: np.random.Generator) -> Tensor:
    """Parallel or crossed bars: fences, grids, railings."""
    angle = rng.uniform(0, np.pi)
    u = x * math.cos(angle) + y * math.sin(angle)
    v = y * math.cos(angle) - x * math.sin(angle)
    period = max(rng.uniform(0.25, 0.7), 4 * thickness)
    distance = thickness - (torch.remainder(u, period) - period / 2).abs()
    if rng.random() < 0.5:
        distance = torch.maximum(distance, thickness - (torch.remainder(v, period) - period / 2).abs())
    border = torch.minimum(a - x.abs(), b - y.abs())
    return torch.minimum(distance, border)


def _frame(x: Tensor, y: Tensor, a: float, b: float, thickness: float, rng: np.random.Generator) -> Tensor:
    border = torch.minimum(a - x.abs(), b - y.abs())
    return torch.minimum(border, max(thickness * 2, rng.uniform(0.08, 0.4) * min(a, b)) - border)


def _ragged(x: Tensor, y: Tensor, a: float, b: float, thickness: float, rng: np.random.Generator) -> Tensor:
    """A level set of random waves inside an ellipse: clouds, foliage, several parts, holes."""
    u, v = x / a, y / b
    value, gx, gy = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(6):
        frequency, direction = rng.uniform(2, 9), rng.uniform(0, 2 * np.pi)
        wx, wy = frequency * math.cos(direction), frequency * math.sin(direction)
        size, phase = 0.5 / math.sqrt(frequency), rng.uniform(0, 2 * np.pi)
        angle = u * wx + v * wy + phase
        value = value + size * torch.cos(angle)
        slope = -size * torch.sin(angle)
        gx, gy = gx + slope * wx, gy + slope * wy
    value = value + rng.uniform(0.5, 1.0) - 1.2 * (u * u + v * v)
    gx, gy = gx - 2.4 * u, gy - 2.4 * v
    distance = value / (0.3 + torch.hypot(gx / a, gy / b))
    return torch.minimum(distance, (1 - torch.hypot(u, v)) * min(a, b))


_DRAW = {
    "polygon": _polygon,
    "blob": _blob,
    "bar": _bar,
    "ring": _ring,
    "twig": _twig,
    "lattice": _lattice,
    "frame": _frame,
    "ragged": _ragged,
}
