"""Procedural textures by number, made when they are first needed, by whichever process needs them first."""

import mmap
import zlib

import numpy as np
import torch
from torch import Tensor

from flowzoo.devices import moved
from flowzoo.synthetic.procedural import SIDE, procedural_texture

_BYTES = SIDE * SIDE * 3
_SUM_BYTES = 8  # per texture, before the pictures: what a finished one adds up to


class ProceduralSet:
    """`count` textures of `seed`, uint8 (3, SIDE, SIDE), kept on `device`.

    Making one takes longer than rendering a pair. So they lie in memory that processes forked from this one share (it
    takes up no room before it is written): what one of them has made, none makes again.
    """

    def __init__(self, seed: int, count: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.count, self.device = seed, count, torch.device(device)
        self._seen: dict[int, Tensor] = {}
        self._pages = mmap.mmap(-1, max(1, count) * (_SUM_BYTES + _BYTES))

    def __reduce__(self) -> tuple[type["ProceduralSet"], tuple[int, int, torch.device]]:
        return ProceduralSet, (self.seed, self.count, self.device)  # a process that was not forked makes its own

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < self.count:
            raise IndexError(index)
        if index not in self._seen:
            self._seen[index] = moved(torch.from_numpy(self._made(index)).permute(2, 0, 1), self.device)
        return self._seen[index]

    def _made(self, index: int) -> np.ndarray:
        """(SIDE, SIDE, 3) in the shared memory, where it is now finished."""
        total = np.frombuffer(self._pages, np.uint64, 1, _SUM_BYTES * index)
        start = _SUM_BYTES * self.count + _BYTES * index
        texture = np.frombuffer(self._pages, np.uint8, _BYTES, start).reshape(SIDE, SIDE, 3)
        if total[0] != _sum(texture):  # nobody has made it, or somebody is about to, of the same bytes
            texture[:] = procedural_texture(self.seed, index)
            total[0] = _sum(texture)
        return texture


def _sum(texture: np.ndarray) -> int:
    """Of a finished texture; never 0, so no fresh memory looks finished."""
    return zlib.crc32(texture.data) + 1
