"""Convex upsampling (RAFT, section 3.3): a fine flow is a learned weighted mean of the 3x3 coarse ones around it.

The plain form, a softmax and a broadcast product, spends most of its time on temporaries nine times the size of the
result; here none is made, and the backward pass computes the softmax anew instead of keeping it.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from flowzoo.operators import native
from flowzoo.operators.cpu_correlation import threads_for
from flowzoo.operators.registration import LIBRARY, register

_INTEGERS: list[Any] = [ctypes.c_int, *[ctypes.c_int64] * 5]


def convex_upsampling(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    """Flow at `factor` times the size, in pixels of the finer grid (RAFT, section 3.3).

    Args:
        flow: (B,2,h,w), pixels of its own grid.
        logits: (B,9*factor^2,h,w); channel k*factor^2 + (fy*factor + fx) weighs neighbour k (row by row through the
            3x3 window, edges replicated) for the fine pixel (fy, fx) of each coarse one. A softmax over k is taken.
        factor: whole number from 1 up.

    Returns:
        (B,2,h*factor,w*factor), of the flow's dtype.
    """
    result: Tensor = UPSAMPLE(flow, logits, factor)
    return result


def portable(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    """The definition of `convex_upsampling`."""
    weights, windows = _weights_and_windows(flow, logits, factor)
    batch, _, parts, height, width = weights.shape
    fine = flow.new_zeros(batch, 2, parts, height, width)
    for k, window in enumerate(windows):
        fine = fine.addcmul(weights[:, k].unsqueeze(1), window.unsqueeze(2))
    fine = fine.reshape(batch, 2, factor, factor, height, width).permute(0, 1, 4, 2, 5, 3)
    return fine.reshape(batch, 2, height * factor, width * factor)


def portable_backward(gradient: Tensor, flow: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """What `gradient` of the result means for flow and logits; itself made of differentiable parts."""
    weights, windows = _weights_and_windows(flow, logits, factor)
    batch, _, parts, height, width = weights.shape
    patches = gradient.reshape(batch, 2, height, factor, width, factor).permute(0, 1, 3, 5, 2, 4)
    patches = patches.reshape(batch, 2, parts, height, width)
    to_weights = torch.stack([(patches * window.unsqueeze(2)).sum(dim=1) for window in windows], dim=1)
    to_logits = weights * (to_weights - (weights * to_weights).sum(dim=1, keepdim=True))
    padded = flow.new_zeros(batch, 2, height + 2, width + 2)
    for k in range(9):
        share = (patches * weights[:, k].unsqueeze(1)).sum(dim=2) * factor
        below, right = 2 - k // 3, 2 - k % 3
        padded = padded + torch.nn.functional.pad(share, (2 - right, right, 2 - below, below))
    to_logits = to_logits.reshape(logits.shape).to(logits.dtype)
    return _unpadded(padded), to_logits.contiguous(memory_format=torch.channels_last)


def _weights_and_windows(flow: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, list[Tensor]]:
    """Softmax weights (B,9,factor^2,h,w), and the flow (B,2,h,w) in fine pixels as each of the nine taps sees it."""
    batch, _, height, width = flow.shape
    weights = logits.to(flow.dtype).reshape(batch, 9, factor * factor, height, width).softmax(dim=1)
    padded = _padded(flow * factor)
    windows = [padded[..., dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
    return weights, windows


def _padded(flow: Tensor) -> Tensor:
    """A border of one with the edge values; replicate padding by hand, which also takes a batch of 0."""
    rows = torch.cat([flow[..., :1, :], flow, flow[..., -1:, :]], dim=-2)
    return torch.cat([rows[..., :1], rows, rows[..., -1:]], dim=-1)


def _unpadded(gradient: Tensor) -> Tensor:
    """The adjoint of `_padded`: border gradients are added to the edge they were copied from."""
    for dimension in (-1, -2):
        size = gradient.shape[dimension] - 2
        first, middle, last = gradient.split([1, size, 1], dim=dimension)
        gradient = torch.cat(
            [middle.narrow(dimension, 0, 1) + first, middle.narrow(dimension, 1, size - 1)], dim=dimension
        )
        gradient = torch.cat(
            [gradient.narrow(dimension, 0, size - 1), gradient.narrow(dimension, size - 1, 1) + last], dim=dimension
        )
    return gradient


def _usable(flow: Tensor, logits: Tensor) -> ctypes.CDLL | None:
    """The kernels' library if it can take these tensors."""
    known = flow.dtype == torch.float32 and logits.dtype in (torch.float32, torch.bfloat16)
    return native.library() if known and logits.numel() > 0 else None


def _cpu(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    kernels = _usable(flow, logits)
    if kernels is None:
        return portable(flow, logits, factor)
    batch, _, height, width = flow.shape
    flow, logits = flow.contiguous(), logits.contiguous(memory_format=torch.channels_last)
    fine = flow.new_empty(batch, 2, height * factor, width * factor)
    function = kernels.flowzoo_convex_upsampling
    function.argtypes = [*[ctypes.c_void_p] * 3, *_INTEGERS]
    numbers = logits.dtype == torch.bfloat16, batch, height, width, factor, threads_for(20 * logits.numel())
    if function(logits.data_ptr(), flow.data_ptr(), fine.data_ptr(), *numbers) != 0:
        return portable(flow, logits, factor)
    return fine


def _cpu_backward(gradient: Tensor, flow: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    kernels = _usable(flow, logits)
    if kernels is None:
        return portable_backward(gradient, flow, logits, factor)
    batch, _, height, width = flow.shape
    gradient, flow = gradient.contiguous(), flow.contiguous()
    logits = logits.contiguous(memory_format=torch.channels_last)
    to_flow, to_logits = torch.empty_like(flow), torch.empty_like(logits)
    spread = flow.new_empty(batch, height, width, 18)
    function = kernels.flowzoo_convex_upsampling_backward
    function.argtypes = [*[ctypes.c_void_p] * 6, *_INTEGERS]
    pointers = [tensor.data_ptr() for tensor in (gradient, logits, flow, to_logits, to_flow, spread)]
    numbers = logits.dtype == torch.bfloat16, batch, height, width, factor, threads_for(40 * logits.numel())
    if function(*pointers, *numbers) != 0:
        return portable_backward(gradient, flow, logits, factor)
    return to_flow, to_logits


def _fake(flow: Tensor, logits: Tensor, factor: int) -> Tensor:
    batch, _, height, width = flow.shape
    return flow.new_empty(batch, 2, height * factor, width * factor)


def _fake_backward(gradient: Tensor, flow: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    return flow.new_empty(flow.shape), torch.empty_like(logits, memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.factor = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    to_flow, to_logits = UPSAMPLE_BACKWARD(gradient, *ctx.saved_tensors, ctx.factor)
    return to_flow, to_logits, None


def _double_backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    """Through the portable form: nobody's inner loop."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [tensor if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        gradient, flow, logits = inputs
        outputs = portable_backward(gradient, flow, logits, ctx.factor)
        return *torch.autograd.grad(outputs, inputs, gradients, create_graph=again), None


# Without autocast: the kernel reads bfloat16 logits as they are.
UPSAMPLE = register(
    "convex_upsampling",
    "(Tensor flow, Tensor logits, int factor) -> Tensor",
    portable,
    _fake,
    _cpu,
    autocast=False,
)
UPSAMPLE_BACKWARD = register(
    "convex_upsampling_backward",
    "(Tensor gradient, Tensor flow, Tensor logits, int factor) -> (Tensor, Tensor)",
    portable_backward,
    _fake_backward,
    _cpu_backward,
    autocast=False,
)
for _name, _derivative in (("convex_upsampling", _backward), ("convex_upsampling_backward", _double_backward)):
    torch.library.register_autograd(f"flowzoo::{_name}", _derivative, setup_context=_save, lib=LIBRARY)
