"""How much memory activations may take where nobody has said it."""

import torch

from flowzoo.errors import InputError

ON_CPU = 4.0
"""Gigabytes."""
SHARE = 0.8
"""Of a CUDA device's free memory: the rest is for the workspaces of its libraries, and for other processes' growth."""


def default_memory(device: torch.device) -> float:
    """Gigabytes: on a CPU always the same, on a CUDA device a share of what is free there now.

    Memory that torch holds without using it counts as free.
    """
    if device.type != "cuda":
        return ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return SHARE * (free + unused) / 1e9


def halves_maps(device: torch.device, precision: torch.dtype) -> bool:
    """Whether convolutions run in a half type as `FlowNetwork.peak_bytes` knows it, measured on a CPU with bfloat16."""
    if device.type != "cpu" or precision != torch.bfloat16 or not torch.backends.mkldnn.is_available():
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def check_memory(gigabytes: float) -> float:
    """The number itself.

    Raises:
        InputError: it is not above 0.
    """
    if not gigabytes > 0:
        raise InputError(f"memory must be above 0 gigabytes, got {gigabytes}")
    return gigabytes
