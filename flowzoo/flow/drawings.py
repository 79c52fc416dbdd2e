"""Flow drawn as arrows, and in the HSV colours of OpenCV's tutorial."""

import math
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from flowzoo.errors import InputError
from flowzoo.flow.kinds import Kind, Maps, flow_in, image_in, same_size

Colour = tuple[int, int, int]
SHORTEST = 0.5
"""Pixels of picture below which a vector is drawn as a dot."""
_HEAD, _SPREAD = 0.35, math.radians(28)


def arrows(
    flow: Maps,
    image: Maps | None = None,
    *,
    step: int = 16,
    scale: float = 1.0,
    colour: Colour = (255, 220, 0),
    background: Colour = (0, 0, 0),
) -> Maps:
    """A picture with an arrow every `step` pixels, from p to p + scale * flow(p). Unknown flow has none.

    Args:
        flow: in pixels (shapes: see `flowzoo.flow`).
        image: what lies below, of the flow's size: uint8, or floating point in 0..1; grey or RGB.
        step: distance of the arrows, pixels.
        scale: their length over that of the flow.
        colour: of the arrows, RGB.
        background: where there is no image, RGB.

    Returns:
        uint8 RGB, laid out as the flow: (H,W,3), or (3,H,W) for a tensor.

    Raises:
        InputError: shapes that do not fit, or a step below 1.
    """
    field, kind = flow_in("flow", flow)
    if step < 1 or not 0 < scale < math.inf:
        raise InputError(f"arrows need a step of at least 1 pixel and a positive scale, got {step} and {scale}")
    batch, _, height, width = field.shape
    canvas = torch.tensor(background, dtype=torch.uint8).view(1, 3, 1, 1).repeat(batch, 1, height, width)
    if image is not None:
        maps, image_kind = image_in("image", image)
        same_size("image", maps, "flow", field)
        if maps.shape[1] not in (1, 3):
            raise InputError(f"image has {maps.shape[1]} channels: give a grey or an RGB image")
        bright = maps * 255 if image_kind.dtype.is_floating_point else maps
        canvas = bright.detach().cpu().round().clamp(0, 255).byte().expand(-1, 3, -1, -1)
    pixels = canvas.permute(0, 2, 3, 1).contiguous().numpy()
    vectors = field.detach().cpu().permute(0, 2, 3, 1).numpy()
    drawn = [_drawn(picture, vector, step, scale, colour) for picture, vector in zip(pixels, vectors, strict=True)]
    return _picture(np.stack(drawn), kind)  # type: ignore[no-any-return]


def hsv(flow: Maps, *, max_flow: float | None = None, gamma: float = 1.0) -> Maps:
    """Flow in HSV colours: hue is the direction, brightness the length, on black.

    Hue starts at red for motion to the right and goes through green (down and left) to blue (up and left), as in
    OpenCV's tutorial of dense flow; `flowzoo.visualise.flow_picture` has the colours of the Middlebury benchmark.

    Args:
        flow: in pixels (shapes: see `flowzoo.flow`). Unknown flow is black.
        max_flow: length of full brightness in pixels; None: the longest vector. Give the same for all frames of a
            video, or it flickers.
        gamma: exponent of the brightness; below 1 shows small motion.

    Returns:
        uint8 RGB, laid out as the flow: (H,W,3), or (3,H,W) for a tensor.

    Raises:
        InputError: a shape that flow does not have, or a number that is not positive.
    """
    field, kind = flow_in("flow", flow)
    if (max_flow is not None and not 0 < max_flow < math.inf) or not 0 < gamma < math.inf:
        raise InputError(f"max_flow and gamma must be positive numbers, got {max_flow} and {gamma}")
    vectors = field.detach().cpu().permute(0, 2, 3, 1).double().numpy()
    known = np.isfinite(vectors).all(axis=-1)
    u, v = np.where(known[..., None], vectors, 0).transpose(3, 0, 1, 2)
    length = np.hypot(u, v)
    full = max_flow or float(length.max()) or 1.0
    value = np.clip(length / full, 0, 1) ** gamma
    sector = (np.degrees(np.arctan2(v, u)) % 360) / 60
    # With full saturation a channel falls from 1 to 0 as the hue moves from one to two sectors away.
    away = [np.abs((sector - centre + 3) % 6 - 3) for centre in (0, 2, 4)]
    colours = np.stack([np.clip(2 - distance, 0, 1) * value for distance in away], axis=-1)
    return _picture(np.rint(255 * colours).astype(np.uint8), kind)  # type: ignore[no-any-return]


def _picture(pixels: np.ndarray, kind: Kind) -> Any:
    """(B,H,W,3) laid out as the flow was."""
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return kind.back(pictures, torch.uint8)


def _drawn(pixels: np.ndarray, vectors: np.ndarray, step: int, scale: float, colour: Colour) -> np.ndarray:
    """(H,W,3) with arrows of (H,W,2) on it."""
    height, width = vectors.shape[:2]
    canvas = Image.fromarray(pixels)
    draw = ImageDraw.Draw(canvas)
    for y in range(min(step // 2, height - 1), height, step):
        for x in range(min(step // 2, width - 1), width, step):
            u, v = (float(part) * scale for part in vectors[y, x])
            if math.isfinite(u) and math.isfinite(v):
                _arrow(draw, x, y, u, v, colour)
    return np.asarray(canvas)


def _arrow(draw: ImageDraw.ImageDraw, x: int, y: int, u: float, v: float, colour: Colour) -> None:
    length = math.hypot(u, v)
    if length < SHORTEST:
        draw.point((x, y), colour)
        return
    # Beyond this the arrow has left any picture, and the drawing library's whole numbers end.
    shrink = min(1.0, 1e5 / length)
    tip = (x + u * shrink, y + v * shrink)
    draw.line((x, y, *tip), colour)
    head, direction = min(_HEAD * length, 6.0), math.atan2(v, u)
    for turn in (math.pi - _SPREAD, math.pi + _SPREAD):
        angle = direction + turn
        draw.line((*tip, tip[0] + head * math.cos(angle), tip[1] + head * math.sin(angle)), colour)
