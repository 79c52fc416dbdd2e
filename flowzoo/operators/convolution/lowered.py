"""Convolutions under autocast on a CPU, by oneDNN, bias and leaky ReLU in the same pass: rounded once."""

import torch
from torch import Tensor

from flowzoo.operators.convolution import cpu
from flowzoo.operators.precision import autocast_type


def suits(maps: Tensor, weight: Tensor) -> bool:
    """Whether autocast wants this convolution in bfloat16, and it is one of inference."""
    if torch.is_grad_enabled() or not type(maps) is type(weight.data) is Tensor:
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    if maps.dim() != 4 or maps.shape[1] != weight.shape[1] or maps.numel() == 0:
        return False
    known = {maps.dtype, weight.dtype} <= {torch.float32, torch.bfloat16}
    return known and maps.is_cpu and autocast_type(maps) == torch.bfloat16


def convolution(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    slope: float,
) -> Tensor | None:
    """(B,C,H,W), (D,C,h,w), (D) -> (B,D,H',W') in bfloat16, channels last; None where oneDNN cannot do it here."""
    both = cpu.both_at_once()
    if both is None or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    maps = maps.to(torch.bfloat16, memory_format=torch.channels_last)
    weight, bias = weight.to(torch.bfloat16), None if bias is None else bias.to(torch.bfloat16)
    activation = ("none", []) if slope == 1 else ("leaky_relu", [slope])
    sides = [stride, stride], [dilation, dilation]
    result: Tensor = both(maps, weight, bias, list(padding), *sides, 1, *activation, "")
    return result
