"""Red-black SOR for the linear systems of variational flow: two unknowns a pixel, coupled to the four neighbours."""

import ctypes
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators import native


@dataclass(frozen=True)
class System:
    """All (B,1,H,W) float32. At every pixel, with n over its neighbours and w the weight of the edge to each:

    a11 du + a12 dv + sum w (du - du_n) = b1,    a12 du + a22 dv + sum w (dv - dv_n) = b2

    `right` and `below` hold the weights of the edges to the right and to the lower neighbour, 0 at the borders.
    """

    a11: Tensor
    a12: Tensor
    a22: Tensor
    b1: Tensor
    b2: Tensor
    right: Tensor
    below: Tensor


def relax(system: System, step: Tensor, sweeps: int, factor: float) -> Tensor:
    """`step` (B,2,H,W) after `sweeps` SOR sweeps from where it is: the pixels with even x + y, then the others."""
    library = native.library() if step.device.type == "cpu" and step.dtype == torch.float32 and step.numel() else None
    step = step.contiguous().clone()
    if library is not None:
        arrays = [
            part.contiguous()
            for part in (system.a11, system.a12, system.a22, system.b1, system.b2, system.right, system.below)
        ]
        function = library.flowzoo_relax
        function.argtypes = [ctypes.c_void_p] * 8 + [ctypes.c_int64] * 4 + [ctypes.c_float, ctypes.c_int64]
        pointers = [array.data_ptr() for array in (*arrays, step)]
        batch, _, height, width = step.shape
        if function(*pointers, batch, height, width, sweeps, factor, torch.get_num_threads()) == 0:
            return step
    return _relax(system, step, sweeps, factor)


def _relax(system: System, step: Tensor, sweeps: int, factor: float) -> Tensor:
    """The definition."""
    height, width = step.shape[-2:]
    left, above = F.pad(system.right[..., :-1], (1, 0)), F.pad(system.below[..., :-1, :], (0, 0, 1, 0))
    total = left + above + system.right + system.below
    rows, columns = torch.arange(height, device=step.device).view(-1, 1), torch.arange(width, device=step.device)
    even = (rows + columns) % 2 == 0
    for _ in range(sweeps):
        for colour in (even, ~even):
            padded = F.pad(step, (1, 1, 1, 1))
            around = left * padded[..., 1:-1, :-2] + system.right * padded[..., 1:-1, 2:]
            around += above * padded[..., :-2, 1:-1] + system.below * padded[..., 2:, 1:-1]
            du, dv = step[:, :1], step[:, 1:]
            new_du = (system.b1 + around[:, :1] - system.a12 * dv) / (system.a11 + total)
            du = torch.where(colour, du + factor * (new_du - du), du)
            new_dv = (system.b2 + around[:, 1:] - system.a12 * du) / (system.a22 + total)
            dv = torch.where(colour, dv + factor * (new_dv - dv), dv)
            step = torch.cat([du, dv], dim=1)
    return step
