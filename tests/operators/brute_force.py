"""The operators written as the loops of their definitions, in NumPy and float64: slow, plain, and independent."""

import math

import numpy as np

Array = np.ndarray


def pixel(maps: Array, image: int, y: int, x: int) -> Array:
    """Feature vector, zero outside."""
    _, channels, height, width = maps.shape
    return maps[image, :, y, x] if 0 <= y < height and 0 <= x < width else np.zeros(channels)


def sample(maps: Array, image: int, y: float, x: float) -> Array:
    """Bilinear, each neighbour zero outside; zero where the place is no number or infinite."""
    if not (math.isfinite(y) and math.isfinite(x)):
        return np.zeros(maps.shape[1])
    top, left = math.floor(y), math.floor(x)
    total = np.zeros(maps.shape[1])
    for row, y_share in ((top, top + 1 - y), (top + 1, y - top)):
        for column, x_share in ((left, left + 1 - x), (left + 1, x - left)):
            total += y_share * x_share * pixel(maps, image, row, column)
    return total


def displacements(radius: int, dilation: int) -> list[tuple[int, int]]:
    """(dy, dx), dy slow."""
    steps = range(-radius, radius + 1)
    return [(dilation * dy, dilation * dx) for dy in steps for dx in steps]


def correlation(first: Array, second: Array, radius: int, dilation: int, stride: int) -> Array:
    batch, _, height, width = first.shape
    rows, columns = range(0, height, stride), range(0, width, stride)
    out = np.zeros((batch, (2 * radius + 1) ** 2, len(rows), len(columns)))
    for n in range(batch):
        for d, (dy, dx) in enumerate(displacements(radius, dilation)):
            for i, y in enumerate(rows):
                for j, x in enumerate(columns):
                    out[n, d, i, j] = np.mean(first[n, :, y, x] * pixel(second, n, y + dy, x + dx))
    return out


def correlation_transpose(residual: Array, second: Array, radius: int, dilation: int) -> Array:
    batch, channels, height, width = second.shape
    out = np.zeros(second.shape)
    for n in range(batch):
        for d, (dy, dx) in enumerate(displacements(radius, dilation)):
            for y in range(height):
                for x in range(width):
                    out[n, :, y, x] += residual[n, d, y, x] * pixel(second, n, y + dy, x + dx) / channels
    return out


def sampled(first: Array, second: Array, flow: Array, radius: int, dilation: int, stride: int, measure: str) -> Array:
    batch, _, height, width = first.shape
    rows, columns = range(0, height, stride), range(0, width, stride)
    out = np.zeros((batch, (2 * radius + 1) ** 2, len(rows), len(columns)))
    for n in range(batch):
        for d, (dy, dx) in enumerate(displacements(radius, dilation)):
            for i, y in enumerate(rows):
                for j, x in enumerate(columns):
                    there = sample(second, n, y + dy + flow[n, 1, y, x], x + dx + flow[n, 0, y, x])
                    here = first[n, :, y, x]
                    out[n, d, i, j] = np.mean(here * there if measure == "correlation" else np.abs(here - there))
    return out


def warp(features: Array, flow: Array) -> Array:
    batch, _, height, width = features.shape
    out = np.zeros(features.shape)
    for n in range(batch):
        for y in range(height):
            for x in range(width):
                out[n, :, y, x] = sample(features, n, y + flow[n, 1, y, x], x + flow[n, 0, y, x])
    return out


def splat(values: Array, flow: Array) -> Array:
    batch, _, height, width = values.shape
    out = np.zeros(values.shape)
    for n in range(batch):
        for y in range(height):
            for x in range(width):
                to_x, to_y = x + flow[n, 0, y, x], y + flow[n, 1, y, x]
                if not (math.isfinite(to_x) and math.isfinite(to_y)):
                    continue
                for row in range(height):
                    for column in range(width):
                        share = max(0.0, 1 - abs(row - to_y)) * max(0.0, 1 - abs(column - to_x))
                        out[n, :, row, column] += share * values[n, :, y, x]
    return out


def local_convolution(values: Array, weights: Array, window: int) -> Array:
    batch, _, height, width = values.shape
    out = np.zeros(values.shape)
    for n in range(batch):
        for k in range(window * window):
            dy, dx = k // window - window // 2, k % window - window // 2
            for y in range(height):
                for x in range(width):
                    out[n, :, y, x] += weights[n, k, y, x] * pixel(values, n, y + dy, x + dx)
    return out


def global_correlation(first: Array, second: Array) -> Array:
    batch, _, height, width = first.shape
    rows, columns = second.shape[2:]
    out = np.zeros((batch, rows * columns, height, width))
    for n in range(batch):
        for k in range(rows * columns):
            for y in range(height):
                for x in range(width):
                    out[n, k, y, x] = first[n, :, y, x] @ second[n, :, k // columns, k % columns]
    return out
