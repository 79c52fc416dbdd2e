"""`correlate`, `gather` and `scatter` as CUDA launches (kernels/correlation.cu), or portable where no kernel fits."""

import numpy as np
import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.correlation import definition
from flowzoo.operators.launch import STORAGE, Launch

TILE_X, TILE_Y = 32, 4
"""Pixels of a block; the same numbers stand in kernels/correlation.cu."""

CHANNELS_PER_THREAD = 4
"""Channels that a thread of the gather accumulates; likewise."""

SMALL_MAP = 4096
"""Pixels (of all images) below which tiles cannot fill a GPU and lanes share the channels instead."""

MOST_GROUP = 9


def group_size(radius: int) -> int:
    """Displacements a thread holds along x: the side of the window split evenly into groups of at most 9."""
    side = 2 * radius + 1
    return -(-side // -(-side // MOST_GROUP))


def rows_of_block(tiles: int, side: int, group: int, processors: int) -> int:
    """Displacement rows of a block: as many as a thread has columns, or a third where blocks would be too few.

    A third reads the second map's rows more often, from the cache; but three times as many processors work.
    """
    return group if tiles * -(-side // group) >= processors else -(-group // 3)


def _tiles(maps: Tensor, dilation: int) -> int:
    batch, _, height, width = maps.shape
    phases = dilation * dilation
    rows, columns = -(-height // dilation), -(-width // dilation)
    return batch * phases * -(-rows // TILE_Y) * -(-columns // TILE_X)


def _sizes(maps: Tensor, radius: int, dilation: int) -> tuple[np.int64 | np.int32, ...]:
    batch, *others = maps.shape
    return np.int64(batch), *(np.int32(number) for number in (*others, radius, dilation))


def _fits(maps: Tensor, radius: int, dilation: int) -> bool:
    """Whether there is a kernel: its coordinates, displaced ones too, are 32-bit numbers (products of them are not)."""
    reach = max(maps.shape[1:]) + 2 * (radius + TILE_X) * dilation
    return maps.dtype in STORAGE and maps.numel() > 0 and reach < 2**31


def correlate(first: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """See definition.correlate."""
    dilation = definition.effective_dilation(first, dilation)
    if not _fits(first, radius, dilation):
        return definition.correlate(first, second, radius, dilation, scale)
    batch, _, height, width = first.shape
    first, second = first.contiguous(), second.to(first.dtype).contiguous()
    side, group = 2 * radius + 1, group_size(radius)
    volume = first.new_empty(batch, side * side, height, width)
    pixels, groups = batch * height * width, -(-side // group)
    if pixels < SMALL_MAP:
        kernel, threads = "correlate_lanes", (32, 8)
        blocks = -(-(-(-pixels // 4) * side * groups) // 8)
    else:
        tiles = _tiles(first, dilation) * groups
        rows = rows_of_block(tiles, side, group, launch.processors(first.device))
        kernel, threads = "correlate_tile", (32, rows)
        blocks = tiles * -(-side // rows)
    arguments = (first, second, volume, *_sizes(first, radius, dilation), np.float32(scale))
    defines: tuple[tuple[str, int], ...] = (("STORAGE", STORAGE[first.dtype]), ("GROUP", group))
    if kernel == "correlate_tile" and threads[1] != group:
        defines += (("ROWS", threads[1]),)
    launch.start(Launch("correlation.cu", defines, kernel, blocks, threads, arguments))
    return volume


def gather(volume: Tensor, second: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """See definition.gather."""
    dilation = definition.effective_dilation(second, dilation)
    if not _fits(second, radius, dilation):
        return definition.gather(volume, second, radius, dilation, scale)
    return _gather(volume, second, radius, dilation, scale, flipped=False)


def scatter(volume: Tensor, first: Tensor, radius: int, dilation: int, scale: float) -> Tensor:
    """See definition.scatter."""
    dilation = definition.effective_dilation(first, dilation)
    if not _fits(first, radius, dilation):
        return definition.scatter(volume, first, radius, dilation, scale)
    return _gather(volume, first, radius, dilation, scale, flipped=True)


def _gather(volume: Tensor, maps: Tensor, radius: int, dilation: int, scale: float, *, flipped: bool) -> Tensor:
    volume, maps = volume.to(maps.dtype).contiguous(), maps.contiguous()
    result = torch.empty_like(maps)
    channels = maps.shape[1]
    warps = min(8, -(-channels // CHANNELS_PER_THREAD))
    blocks = _tiles(maps, dilation) * -(-channels // (warps * CHANNELS_PER_THREAD))
    sizes = _sizes(maps, radius, dilation)
    arguments = (volume, maps, result, *sizes, np.float32(scale), np.int32(flipped))
    defines = (("STORAGE", STORAGE[maps.dtype]), ("GROUP", group_size(radius)))
    launch.start(Launch("correlation.cu", defines, "gather_tile", blocks, (32, warps), arguments))
    return result
