"""Devices and precisions by the words that a user types. No torch at import time."""

from typing import TYPE_CHECKING

from flowzoo.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def pick_device(text: str) -> "torch.device":
    """The device that "auto", "cpu", "cuda", "cuda:N", "mps" or "xpu" stands for.

    There are kernels for the CPU and for CUDA; elsewhere the operators run in plain PyTorch. "auto" is CUDA or the CPU.

    Raises:
        InputError: the device is not there.
    """
    import torch

    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, index = text.partition(":")
    if text == "cpu":
        return torch.device("cpu")
    if kind not in ("cuda", "mps", "xpu") or (colon and not (index.isascii() and index.isdigit())):
        raise InputError(f"--device cannot be {text!r}: give auto, cpu, cuda, cuda:N, mps or xpu")
    module, name = getattr(torch, kind), kind.upper()
    if not module.is_available():
        raise InputError(f"--device {text}: this machine has no {name} device, or torch was built without it; use cpu")
    if index and int(index) >= module.device_count():
        raise InputError(f"--device {text}: there are only {module.device_count()} {name} devices, counted from 0")
    return torch.device(text)


def pick_precision(text: str, device: "torch.device") -> "torch.dtype":
    """The type that convolutions run in.

    Raises:
        InputError: float16 on a CPU.
    """
    import torch

    if text == "float16" and device.type == "cpu":
        raise InputError("--precision float16 needs a CUDA device: on a CPU use bfloat16 or float32")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[text]


def moved(tensor: "Tensor", device: "torch.device | str") -> "Tensor":
    """`tensor` on `device`. To a CUDA device it goes from pinned memory, so that nobody waits for the copy."""
    import torch

    target = torch.device(device)
    if target.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(target, non_blocking=True)


def costs_a_wait(device: "torch.device") -> bool:
    """Whether the host would wait for `device` if it looked at a number of a tensor there."""
    return device.type != "cpu"
