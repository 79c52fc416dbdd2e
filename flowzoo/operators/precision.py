"""What operators compute in."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from flowzoo.operators.registration import in_plain_torch


def working_dtype(maps: Tensor) -> torch.dtype:
    """float64 stays; everything smaller is computed in float32."""
    return torch.float64 if maps.dtype == torch.float64 else torch.float32


def autocast_type(maps: Tensor) -> torch.dtype | None:
    """What autocast makes of float32 maps that meet a convolution; None where it is off."""
    device = maps.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """A block that autocast leaves alone.

    While a program is traced that leaves the zoo there is nothing to switch off, and the block would become a graph of
    its own, whose free sizes .pt2 files cannot hold.
    """
    return nullcontext() if in_plain_torch() else torch.autocast(device.type, enabled=False)
