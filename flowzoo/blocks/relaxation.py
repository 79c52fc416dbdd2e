"""Red-black SOR for the linear systems of variational flow: two unknowns a pixel, coupled to the four neighbours."""

import ctypes
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.operators import native


def relax(system: Tensor, step: Tensor, sweeps: int, factor: float) -> Tensor:
    """`step` (B,2,H,W) after `sweeps` SOR sweeps from where it is: the pixels with even x + y, then the others.

    Args:
        system: (B,7,H,W) float32: a11, a12, a22, b1, b2, and the weights of the edges to the right and to the lower
            neighbour, 0 at the borders. At every pixel, with n over its neighbours and w the weight of the edge:
            a11 du + a12 dv + sum w (du - du_n) = b1,    a12 du + a22 dv + sum w (dv - dv_n) = b2.
        step: du, dv to start from.
        sweeps: number of them.
        factor: of over-relaxation, 1 to 2.
    """
    after = torch.empty_like(step, memory_format=torch.contiguous_format)
    batch, _, height, width = step.shape
    inputs = [*system.unbind(dim=1), step]
    if run_kernel("flowzoo_relax", inputs, after, (batch, height, width, sweeps), (factor,)):
        return after
    return portable_relax(system, step, sweeps, factor)


def run_kernel(
    name: str, inputs: Sequence[Tensor], result: Tensor, integers: Sequence[int], reals: Sequence[float]
) -> bool:
    """Fill `result` (contiguous) by the native kernel `name`; False where the kernels cannot take it.

    The kernel's arguments are `inputs`, made contiguous, `result`, `integers`, `reals` and the number of threads.
    """
    usable = result.device.type == "cpu" and result.dtype == torch.float32 and result.numel() > 0
    library = native.library() if usable else None
    if library is None:
        return False
    tensors = [*(tensor.contiguous() for tensor in inputs), result]  # named: they must live until the kernel is done
    numbers = [ctypes.c_int64] * len(integers) + [ctypes.c_float] * len(reals)
    function = getattr(library, name)
    function.argtypes = [ctypes.c_void_p] * len(tensors) + numbers + [ctypes.c_int64]
    pointers = [tensor.data_ptr() for tensor in tensors]
    return bool(function(*pointers, *integers, *reals, torch.get_num_threads()) == 0)


def portable_relax(system: Tensor, step: Tensor, sweeps: int, factor: float) -> Tensor:
    """The definition of `relax`."""
    a11, a12, a22, b1, b2, right, below = system.split(1, dim=1)
    height, width = step.shape[-2:]
    left, above = F.pad(right[..., :-1], (1, 0)), F.pad(below[..., :-1, :], (0, 0, 1, 0))
    total = left + above + right + below
    rows, columns = torch.arange(height, device=step.device).view(-1, 1), torch.arange(width, device=step.device)
    even = (rows + columns) % 2 == 0
    for _ in range(sweeps):
        for colour in (even, ~even):
            padded = F.pad(step, (1, 1, 1, 1))
            around = left * padded[..., 1:-1, :-2] + right * padded[..., 1:-1, 2:]
            around += above * padded[..., :-2, 1:-1] + below * padded[..., 2:, 1:-1]
            du, dv = step[:, :1], step[:, 1:]
            new_du = (b1 + around[:, :1] - a12 * dv) / (a11 + total)
            du = torch.where(colour, du + factor * (new_du - du), du)
            new_dv = (b2 + around[:, 1:] - a12 * du) / (a22 + total)
            dv = torch.where(colour, dv + factor * (new_dv - dv), dv)
            step = torch.cat([du, dv], dim=1)
    return step
