"""`splat` as a CUDA launch (kernels/splat.cu), or portable where no kernel fits."""

import torch
from torch import Tensor

from flowzoo.operators import launch
from flowzoo.operators.launch import STORAGE, Launch, numbers
from flowzoo.operators.splat import definition

_THREADS = 256


def splat(values: Tensor, flow: Tensor) -> Tensor:
    """kernels/splat.cu; deterministic (fixed point) after `torch.use_deterministic_algorithms(True)`."""
    if values.dtype not in STORAGE or values.numel() == 0:
        return definition.splat(values, flow)
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
