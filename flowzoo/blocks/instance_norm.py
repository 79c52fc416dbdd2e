"""Instance norm without learned parts: every channel of every sample gets mean 0 and deviation 1 over its pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5
STRIP = 1024
"""Pixels whose mean and variance are taken at a time."""


def instance_norm(maps: Tensor) -> Tensor:
    """(B,C,H,W) -> the same shape; a map of a single pixel becomes 0.

    While no gradients are recorded, `maps` itself may be overwritten. Of one sample in channels-last memory layout,
    PyTorch's batch norm is twenty times as fast on a CPU as its instance norm.
    """
    if maps.shape[2] * maps.shape[3] == 1:
        return maps * 0
    # A loop over samples would tie a compiled or exported program to one batch.
    by_sample = maps.device.type == "cpu" and not torch.compiler.is_compiling()
    if not by_sample or not maps.is_contiguous(memory_format=torch.channels_last):
        return F.instance_norm(maps, eps=EPSILON)
    if not torch.is_grad_enabled() and maps.dtype == torch.float32:
        for sample in maps.split(1):
            _normalise(sample)
        return maps
    samples = [torch.batch_norm(one, None, None, None, None, True, 0.0, EPSILON, False) for one in maps.split(1)]
    return samples[0] if len(samples) == 1 else torch.cat(samples)


def joint_norm(maps: Tensor) -> Tensor:
    """(B,C,...) -> the same shape with mean 0 and deviation 1 per sample, over all of its channels and pixels.

    That is group norm with a single group and without learned parts ("Group Normalization", ECCV 2018).
    """
    if maps.device.type != "cuda":
        return F.group_norm(maps, 1, eps=EPSILON)
    # PyTorch's group norm gives a sample to a single multiprocessor.
    variance, mean = torch.var_mean(maps, dim=tuple(range(1, maps.dim())), correction=0, keepdim=True)
    return (maps - mean) * torch.rsqrt(variance + EPSILON)


def _normalise(sample: Tensor) -> None:
    """In place, which takes two passes over the memory and no other."""
    mean, variance = _moments(sample)
    scale = torch.rsqrt(variance + EPSILON)
    torch.addcmul((-mean * scale).view(1, -1, 1, 1), sample, scale.view(1, -1, 1, 1), out=sample)


def _moments(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the channels of (1,C,H,W) in channels-last memory layout.

    Of strips of rows, joined in float64: PyTorch adds up the pixels of this layout one after the other in float32,
    whose rounding grows with their number (to 7e-5 of a deviation for 110,000 pixels).
    """
    strips = sample.split(max(1, STRIP // sample.shape[3]), 2)
    moments = [torch.batch_norm_update_stats(strip, None, None, 1.0) for strip in strips]
    if len(moments) == 1:
        return moments[0]
    means, variances = (torch.stack(parts).double() for parts in zip(*moments, strict=True))
    share = torch.tensor([[strip.shape[2] / sample.shape[2]] for strip in strips], dtype=torch.float64)
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    return mean.float(), variance.float()
