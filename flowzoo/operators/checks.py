"""Checks at the operators' public edge: one clear line for a shape, a dtype or a number that does not fit."""

from torch import Tensor

from flowzoo.errors import InputError


def check_maps(name: str, maps: Tensor) -> None:
    """`maps` must be a floating-point (B,C,H,W) tensor with at least one channel and one pixel."""
    if maps.dim() != 4:
        raise InputError(f"{name} must be (batch, channels, height, width), got shape {tuple(maps.shape)}")
    if not maps.is_floating_point():
        raise InputError(f"{name} must be floating point, got {maps.dtype}: convert it with .float()")
    if maps.shape[1] == 0 or maps.shape[2] == 0 or maps.shape[3] == 0:
        raise InputError(f"{name} needs at least one channel and one pixel, got shape {tuple(maps.shape)}")


def check_same_shape(name: str, maps: Tensor, other_name: str, other: Tensor) -> None:
    """Both must have one shape, dtype and device."""
    if maps.shape != other.shape:
        raise InputError(
            f"{name} and {other_name} must have one shape, got {tuple(maps.shape)} and {tuple(other.shape)}"
        )
    check_same_kind(name, maps, other_name, other)


def check_same_kind(name: str, maps: Tensor, other_name: str, other: Tensor) -> None:
    """Both must lie on one device."""
    if maps.device != other.device:
        raise InputError(f"{name} is on {maps.device} and {other_name} on {other.device}: move one of them")


def check_flow(flow: Tensor, maps_name: str, maps: Tensor) -> None:
    """`flow` must be (B,2,H,W) with the batch and size of `maps`."""
    check_maps("flow", flow)
    batch, _, height, width = maps.shape
    if flow.shape != (batch, 2, height, width):
        raise InputError(
            f"flow must be {(batch, 2, height, width)} to match {maps_name} {tuple(maps.shape)}, "
            f"got {tuple(flow.shape)}"
        )
    check_same_kind("flow", flow, maps_name, maps)


def check_window(radius: int, dilation: int, stride: int) -> None:
    """Radius from 0 up, dilation and stride from 1 up."""
    if radius < 0 or dilation < 1 or stride < 1:
        raise InputError(
            f"radius must be >= 0, dilation and stride >= 1, got radius {radius}, dilation {dilation}, stride {stride}"
        )
