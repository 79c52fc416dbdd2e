"""Textures made of numbers: noise octaves, stripes, checks, dots, cells, strokes and text-like glyphs.

They need no photographs, have every degree of contrast and repetition, and carry no terms of anyone.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

SIDE = 512  # pixels; every procedural texture is SIDE x SIDE

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]


def procedural_texture(seed: int, index: int) -> Image:
    """Texture number `index` of `seed`: SIDE x SIDE x 3 uint8; the same numbers give the same bytes."""
    rng = np.random.default_rng((seed, 0x7E47, index))
    makers = (_noise, _noise, _stripes, _checks, _dots, _cells, _strokes, _glyphs)
    plane = makers[index % len(makers)](rng)
    if rng.random() < 0.5:
        plane = 0.75 * plane + 0.25 * _noise(rng)
    return _coloured(plane, rng)


def _coloured(plane: Plane, rng: np.random.Generator) -> Image:
    """Between two random colours, with a weak second noise in colour."""
    dark, light = rng.uniform(0, 1, 3), rng.uniform(0, 1, 3)
    if np.abs(dark - light).mean() < 0.25:
        light = 1 - dark
    tint = _noise(rng)[..., None] - 0.5
    picture = dark + (light - dark) * plane[..., None] + tint * rng.normal(0, 0.15, 3)
    return np.asarray(np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _enlarged(values: NDArray[np.floating], mode: str = "bicubic") -> Plane:
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    if mode == "nearest":
        return np.asarray(functional.interpolate(tensor, size=(SIDE, SIDE), mode=mode)[0, 0])
    return np.asarray(functional.interpolate(tensor, size=(SIDE, SIDE), mode=mode, align_corners=False)[0, 0])


def _unit(plane: Plane) -> Plane:
    low, high = np.percentile(plane, (1, 99))
    return np.asarray(np.clip((plane - low) / max(high - low, 1e-6), 0, 1), dtype=np.float32)


def _grid() -> tuple[Plane, Plane]:
    axis = np.arange(SIDE, dtype=np.float32)
    return np.broadcast_to(axis, (SIDE, SIDE)), np.broadcast_to(axis[:, None], (SIDE, SIDE))


def _noise(rng: np.random.Generator) -> Plane:
    """Octaves of smooth noise; the fall-off decides between clouds and sand."""
    persistence = rng.uniform(0.4, 1.1)
    first = int(rng.integers(1, 4))
    total = np.zeros((SIDE, SIDE), dtype=np.float32)
    stretch = 2 if rng.random() < 0.25 else 1  # grain, as of wood or brushed metal
    for octave in range(first, 9):
        cells = 2**octave
        values = rng.standard_normal((min(cells * stretch * stretch, SIDE), max(cells // stretch, 2)))
        total += persistence ** (octave - first) * _enlarged(values)
    return _unit(total)


def _waviness(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Pixel coordinates, turned and slightly bent."""
    x, y = _grid()
    angle = rng.uniform(0, np.pi)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    bend = rng.uniform(0, 12)
    return (
        u + bend * np.sin(v / rng.uniform(30, 120) + rng.uniform(0, 6)),
        v + bend * np.sin(u / rng.uniform(30, 120) + rng.uniform(0, 6)),
    )


def _soft_step(value: NDArray[np.floating], width: float) -> Plane:
    return np.asarray(np.clip(value / width + 0.5, 0, 1), dtype=np.float32)


def _stripes(rng: np.random.Generator) -> Plane:
    u, _ = _waviness(rng)
    period = np.exp(rng.uniform(np.log(6), np.log(90)))
    wave = np.cos(u * 2 * np.pi / period) - rng.uniform(-0.7, 0.7)
    return _soft_step(wave, 2 * np.pi / period * rng.uniform(1, 6))


def _checks(rng: np.random.Generator) -> Plane:
    u, v = _waviness(rng)
    period = np.exp(rng.uniform(np.log(10), np.log(80)))
    aspect = rng.uniform(0.5, 2)
    row = np.floor(v / period / aspect)
    if rng.random() < 0.5:  # bricks: every tile its own brightness
        column = np.floor(u / period + 0.5 * (row % 2))
        shades = rng.uniform(0, 1, 4096).astype(np.float32)
        bricks: np.ndarray = shades[((row * 57 + column * 131) % 4096).astype(np.int64)]
        return bricks
    return np.asarray((np.floor(u / period) + row) % 2, dtype=np.float32)


def _dots(rng: np.random.Generator) -> Plane:
    """Discs of random size and shade at random places."""
    x, y = _grid()
    plane = np.full((SIDE, SIDE), rng.uniform(0, 1), dtype=np.float32)
    largest = np.exp(rng.uniform(np.log(5), np.log(40)))
    for _ in range(int(min(400, 30000 / largest**1.5))):
        radius = largest * rng.uniform(0.3, 1)
        cx, cy = rng.uniform(0, SIDE, 2)
        x0, x1 = int(max(cx - radius - 2, 0)), int(min(cx + radius + 3, SIDE))
        y0, y1 = int(max(cy - radius - 2, 0)), int(min(cy + radius + 3, SIDE))
        cover = _soft_step(radius - np.hypot(x[y0:y1, x0:x1] - cx, y[y0:y1, x0:x1] - cy), 1.5)
        plane[y0:y1, x0:x1] += cover * (rng.uniform(0, 1) - plane[y0:y1, x0:x1])
    return plane


def _cells(rng: np.random.Generator) -> Plane:
    """Voronoi cells (stones, leaves), each with its own shade and a dark rim."""
    count = int(rng.integers(40, 250))
    centres = rng.uniform(0, SIDE, (count, 2)).astype(np.float32)
    side = SIDE // 2
    axis = (np.arange(side, dtype=np.float32) + 0.5) * 2
    nearest = np.full((side, side), np.inf, dtype=np.float32)
    second = nearest.copy()
    owner = np.zeros((side, side), dtype=np.int64)
    for number, (cx, cy) in enumerate(centres):
        distance = (axis - cx)[None] ** 2 + (axis - cy)[:, None] ** 2
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        owner[closer] = number
        nearest = np.minimum(nearest, distance)
    rim = np.sqrt(second) - np.sqrt(nearest)
    shade = rng.uniform(0.2, 1, count)[owner] * np.clip(rim / rng.uniform(2, 12), 0.1, 1)
    return np.clip(_enlarged(shade, "bilinear"), 0, 1)


def _strokes(rng: np.random.Generator) -> Plane:
    """Long thin strokes: grass, hair, wires."""
    plane = _noise(rng) * rng.uniform(0, 0.5)
    x, y = _grid()
    direction = rng.uniform(0, np.pi)
    spread = rng.uniform(0.05, 1.5)
    for _ in range(120):
        angle = direction + rng.normal(0, spread)
        cx, cy = rng.uniform(0, SIDE, 2)
        length, width = rng.uniform(15, 130), rng.uniform(0.7, 3)
        x0, x1 = int(max(cx - length, 0)), int(min(cx + length, SIDE))
        y0, y1 = int(max(cy - length, 0)), int(min(cy + length, SIDE))
        dx, dy = x[y0:y1, x0:x1] - cx, y[y0:y1, x0:x1] - cy
        along = np.abs(dx * np.cos(angle) + dy * np.sin(angle))
        across = np.abs(dy * np.cos(angle) - dx * np.sin(angle))
        cover = _soft_step(np.minimum(length * 0.9 - along, width - across), 1.2)
        plane[y0:y1, x0:x1] += cover * (rng.uniform(0, 1) - plane[y0:y1, x0:x1])
    return np.asarray(plane, dtype=np.float32)


def _glyphs(rng: np.random.Generator) -> Plane:
    """Lines of made-up letters, words and spaces on plain paper."""
    scale = float(rng.uniform(1.5, 6))
    columns = int(SIDE / scale)
    page = np.zeros((columns, columns), dtype=np.float32)
    alphabet = rng.random((40, 7, 5)) < 0.45
    alphabet[:, :, 0] |= rng.random((40, 1)) < 0.6  # stems
    alphabet[:, 3, :] |= rng.random((40, 1)) < 0.4
    row = 2
    while row + 8 < columns:
        column = 2
        while column + 6 < columns:
            if rng.random() > 0.16:
                page[row : row + 7, column : column + 5] = alphabet[rng.integers(40)]
            column += 6
        row += int(rng.integers(9, 14))
    return np.clip(_enlarged(page, "bilinear"), 0, 1)
