"""Checks at the operators' public edge: one clear line for a shape, a dtype or a number that does not fit.

Behind it `native_call` checks once more what native kernels are given, whoever calls them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowzoo.errors import InputError

MOST_RADIUS = 4096
"""Displacements of a window number the square of twice this."""

FURTHEST = 2**31 - 1
"""Pixels; dilations and strides beyond it are no sizes of images."""

WHOLE, REAL = (int, torch.SymInt), (int, float)
"""Tuples, because torch 2.7 traces no unions of types."""


def check_maps(name: str, maps: Tensor, channels: int | None = None) -> None:
    """`maps` must be a floating-point (B,C,H,W) tensor with at least one channel (or so many) and one pixel."""
    check_tensor(name, maps)
    shape = maps.shape
    if len(shape) != 4:
        raise InputError(f"{name} must be (batch, channels, height, width), got shape {tuple(shape)}")
    if shape[1] == 0 or shape[2] == 0 or shape[3] == 0:
        raise InputError(f"{name} needs at least one channel and one pixel, got shape {tuple(shape)}")
    if channels is not None and shape[1] != channels:
        raise InputError(f"{name} must have {channels} channels, got shape {tuple(shape)}")


def check_tensor(name: str, tensor: Tensor) -> None:
    """`tensor` must be a floating-point tensor."""
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name} must be a torch tensor, got {type(tensor).__name__}: convert it with torch.as_tensor")
    if not tensor.is_floating_point():
        raise InputError(f"{name} must be floating point, got {tensor.dtype}: convert it with .float()")


def check_same_shape(name: str, maps: Tensor, other_name: str, other: Tensor) -> None:
    """Both must have one shape, dtype and device."""
    if maps.shape != other.shape:
        raise InputError(
            f"{name} and {other_name} must have one shape, got {tuple(maps.shape)} and {tuple(other.shape)}"
        )
    check_same_kind(name, maps, other_name, other)


def check_shape(name: str, tensor: Tensor, shape: Sequence[int], like_name: str, like: Tensor) -> None:
    """`tensor` must be floating point, of this shape, which follows from `like`, and on its device."""
    check_tensor(name, tensor)
    if tensor.shape != tuple(shape):
        raise InputError(
            f"{name} must be {tuple(shape)} to match {like_name} {tuple(like.shape)}, got {tuple(tensor.shape)}"
        )
    check_same_kind(name, tensor, like_name, like)


def check_same_kind(name: str, maps: Tensor, other_name: str, other: Tensor) -> None:
    """Both must lie on one device."""
    if maps.device != other.device:
        raise InputError(f"{name} is on {maps.device} and {other_name} on {other.device}: move one of them")


def check_flow(flow: Tensor, maps_name: str, maps: Tensor) -> None:
    """`flow` must be (B,2,H,W) with the batch and size of `maps`."""
    check_maps("flow", flow)
    batch, _, height, width = maps.shape
    check_shape("flow", flow, (batch, 2, height, width), maps_name, maps)


def check_whole(name: str, value: int, least: int, most: int = FURTHEST) -> None:
    """`value` must be a whole number in least..most."""
    if not isinstance(value, WHOLE):
        raise InputError(f"{name} must be a whole number, got {value!r}")
    if value < least or value > most:
        raise InputError(f"{name} must be >= {least}{f' and <= {most}' if value > most else ''}, got {value}")


def check_real(name: str, value: float) -> None:
    """`value` must be a finite number."""
    if not isinstance(value, REAL) or not math.isfinite(value):
        raise InputError(f"{name} must be a finite number, got {value!r}")


def check_window(radius: int, dilation: int, stride: int) -> None:
    """Radius from 0 up, dilation and stride from 1 up."""
    check_whole("radius", radius, 0, MOST_RADIUS)
    check_whole("dilation", dilation, 1)
    check_whole("stride", stride, 1)
