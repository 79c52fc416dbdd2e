"""The registered operator `splat`: bilinear forward warping, the adjoint of `warp`.

Its derivatives are made of differentiable steps, so gradients of any order exist.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.launch import STORAGE, Launch, numbers
from flowzoo.operators.portable_correlation import working_dtype
from flowzoo.operators.registration import LIBRARY, register

_THREADS = 256


def bounded(flow: Tensor, height: int, width: int) -> Tensor:
    """`flow` with NaN and everything that surely leaves the map replaced by one vector that does, without gradient."""
    far = float(height + width + 2)
    return torch.where(flow.abs() <= far, flow, far)


def coordinates(flow: Tensor) -> tuple[Tensor, Tensor]:
    """x and y, each (B,H,W), of p + flow."""
    height, width = flow.shape[2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device)
    y = torch.arange(height, dtype=flow.dtype, device=flow.device).view(-1, 1)
    return flow[:, 0] + x, flow[:, 1] + y


def _corners(flow: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each neighbour of p + flow: index in the map, whether it is inside, shares along x and y; (B,1,HW)."""
    height, width = flow.shape[2:]
    limited = bounded(flow, height, width)
    whole = limited.detach().floor()
    share = limited - whole
    left, top = coordinates(whole)
    column, row = left.long(), top.long()
    for down in (0, 1):
        for right in (0, 1):
            y, x = row + down, column + right
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            index = torch.where(inside, y * width + x, 0)
            across = share[:, 0] if right else 1 - share[:, 0]
            along = share[:, 1] if down else 1 - share[:, 1]
            yield tuple(part.flatten(1).unsqueeze(1) for part in (index, inside, across, along))  # type: ignore[misc]


def portable_splat(values: Tensor, flow: Tensor) -> Tensor:
    """(B,C,H,W) and (B,2,H,W) -> (B,C,H,W); see `flowzoo.operators.splat`."""
    dtype = working_dtype(values)
    batch, channels, height, width = values.shape
    source = values.to(dtype).flatten(2)
    total = source.new_zeros(batch, channels, height * width)
    for index, inside, across, along in _corners(flow.to(dtype)):
        weighted = torch.where(inside, source * (across * along), 0.0)
        total = total.scatter_add(2, index.expand(-1, channels, -1), weighted)
    return total.view(batch, channels, height, width).to(values.dtype)


def cuda_splat(values: Tensor, flow: Tensor) -> Tensor:
    """kernels/splat.cu; deterministic (fixed point) after `torch.use_deterministic_algorithms(True)`."""
    if values.dtype not in STORAGE or values.numel() == 0:
        return portable_splat(values, flow)
    values, whereto = values.contiguous(), flow.to(torch.float32).contiguous()
    exact = torch.are_deterministic_algorithms_enabled()
    scale = poison = None
    if exact:
        bound = values.abs().amax().double() * (values.shape[2] * values.shape[3])
        scale, poison = launch.fixed_point(bound)
    result = torch.zeros_like(values, dtype=torch.int64 if exact else torch.float32)
    defines = (("STORAGE", STORAGE[values.dtype]), ("FIXED", int(exact)))
    arguments = (values, whereto, result, scale, *numbers(*values.shape))
    blocks = -(-values.numel() // _THREADS)
    launch.start(Launch("splat.cu", defines, "splat", blocks, (_THREADS, 1), arguments))
    if scale is not None and poison is not None:
        result = result.to(torch.float64) / scale + poison
    return result.to(values.dtype)


def _fake(values: Tensor, flow: Tensor) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


SPLAT = register("splat", "(Tensor values, Tensor flow) -> Tensor", portable_splat, _fake, portable_splat, cuda_splat)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    values, flow = ctx.saved_tensors
    dtype = working_dtype(values)
    channels = values.shape[1]
    source, incoming = values.to(dtype).flatten(2), gradient.to(dtype).flatten(2)
    to_values = torch.zeros_like(source)
    to_x = to_y = source.new_zeros(source.shape[0], 1, source.shape[2])
    signs = ((-1, -1), (1, -1), (-1, 1), (1, 1))  # of the corners' shares along x and y
    for (index, inside, across, along), (x, y) in zip(_corners(flow.to(dtype)), signs, strict=True):
        taken = torch.where(inside, incoming.gather(2, index.expand(-1, channels, -1)), 0.0)
        to_values = to_values + taken * (across * along)
        product = (taken * source).sum(dim=1, keepdim=True)
        to_x = to_x + product * along * x
        to_y = to_y + product * across * y
    alive = flow.abs() <= flow.shape[2] + flow.shape[3] + 2
    to_flow = torch.cat([to_x, to_y], dim=1).view(flow.shape) * alive
    return to_values.view(values.shape).to(values.dtype), to_flow.to(flow.dtype)


torch.library.register_autograd("flowzoo::splat", _backward, setup_context=_save, lib=LIBRARY)
