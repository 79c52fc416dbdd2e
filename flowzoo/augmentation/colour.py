"""Colour changes: tables on 8- or 16-bit values, a colour matrix, and FlowNet2's changes in eigen-space."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowzoo.augmentation.settings import AugmentationSettings

GREY = np.array((0.299, 0.587, 0.114))
MEAN_STEP = 4
"""Contrast is about the mean of every fourth pixel of every fourth row."""
EIGENVECTORS = np.array(((0.51, 0.56, 0.65), (0.79, 0.01, -0.62), (0.35, -0.83, 0.44)))
"""Rows: brightness and two colour axes of natural images (FlowNet2's chromatic augmentation)."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ColourPlan:
    """Change of one frame: value -> gain * value^gamma + offset per channel, contrast about the mean, then `matrix`.

    gain (3), matrix (3, 3) for saturation and hue.
    """

    gamma: float
    gain: Array
    offset: float
    contrast: float
    matrix: Array


def draw_colour(rng: np.random.Generator, settings: AugmentationSettings) -> tuple[ColourPlan, ColourPlan]:
    """The changes of the first and of the second frame."""
    changed = rng.random() < settings.colour
    apart = rng.random() < settings.asymmetric
    common = [_common(rng, settings), _common(rng, settings)]
    if not apart:
        common[1] = common[0]
    own = [_own(rng, settings), _own(rng, settings)]
    if not changed:
        return _NOTHING, _NOTHING
    plans = [
        ColourPlan(a.gamma * b.gamma, a.gain * b.gain, a.offset + b.offset, a.contrast * b.contrast, a.matrix)
        for a, b in zip(common, own, strict=True)
    ]
    return plans[0], plans[1]


def _factor(rng: np.random.Generator, spread: float, size: int | None = None) -> Array | float:
    """1 + U(-spread, spread), kept positive."""
    return np.maximum(1 + rng.uniform(-spread, spread, size), 0.05)


def _between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))


def _common(rng: np.random.Generator, settings: AugmentationSettings) -> ColourPlan:
    gain = _factor(rng, settings.common_gain) * np.asarray(_factor(rng, settings.common_tint, 3))
    saturation = float(_factor(rng, settings.common_saturation))
    hue = rng.uniform(-1, 1) * settings.common_hue
    return ColourPlan(
        _between(rng, settings.common_gamma),
        gain,
        rng.uniform(-1, 1) * settings.common_brightness,
        float(_factor(rng, settings.common_contrast)),
        colour_matrix(saturation, hue),
    )


def _own(rng: np.random.Generator, settings: AugmentationSettings) -> ColourPlan:
    return ColourPlan(
        _between(rng, settings.own_gamma),
        _factor(rng, settings.own_gain) * np.asarray(_factor(rng, settings.own_tint, 3)),
        rng.uniform(-1, 1) * settings.own_brightness,
        float(_factor(rng, settings.own_contrast)),
        np.eye(3),
    )


def colour_matrix(saturation: float, hue: float) -> Array:
    """(3, 3) that scales the distance from grey by `saturation` and turns hues by `hue` full turns; grey stays."""
    if saturation == 1 and hue == 0:
        return np.eye(3)
    to_grey = np.tile(GREY, (3, 1))
    matrix = saturation * np.eye(3) + (1 - saturation) * to_grey
    axis, angle = np.full(3, 1 / math.sqrt(3)), 2 * math.pi * hue
    cross = np.array(((0, -axis[2], axis[1]), (axis[2], 0, -axis[0]), (-axis[1], axis[0], 0)))
    turn = math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) * np.outer(axis, axis) + math.sin(angle) * cross
    return np.asarray(turn @ matrix)


_NOTHING = ColourPlan(1.0, np.ones(3), 0.0, 1.0, np.eye(3))


def recolour(frame: Tensor, plan: ColourPlan) -> Tensor:
    """uint8 or uint16 (3, h, w) -> float32 in 0..1 after the change.

    Gamma, gain, offset and contrast are one table look-up.
    """
    size = torch.iinfo(frame.dtype).max + 1
    frame = frame.int()
    base = np.arange(size) / (size - 1)
    curves = plan.gain[:, None] * base**plan.gamma + plan.offset
    if plan.contrast != 1:
        counts = [
            torch.bincount(part.flatten(), minlength=size).cpu().numpy() for part in frame[:, ::MEAN_STEP, ::MEAN_STEP]
        ]
        means = [float(count @ curve) / max(count.sum(), 1) for count, curve in zip(counts, curves, strict=True)]
        curves = (curves - GREY @ means) * plan.contrast + GREY @ means
    tables = torch.from_numpy(np.clip(curves, 0, 1).astype(np.float32)).to(frame.device)
    found = [table.index_select(0, part.flatten()) for table, part in zip(tables, frame, strict=True)]
    result = torch.stack(found).reshape(frame.shape)
    if not np.array_equal(plan.matrix, np.eye(3)):
        matrix = torch.from_numpy(plan.matrix.astype(np.float32)).to(frame.device)
        result = (matrix @ result.reshape(3, -1)).clamp_(0, 1).reshape(result.shape)
    return result


@dataclass(frozen=True)
class ChromaticPlan:
    """FlowNet2's chromatic change; each of the four parts is (power, factor, addend).

    `brightness` acts on the brightness with its mean, `saturation` on the length of the colour vector, `colour` and
    `contrast` on colours and brightness without their means; `turn` rotates colours, radians.
    """

    brightness: tuple[float, float, float]
    saturation: tuple[float, float, float]
    colour: Array  # (2, 3)
    contrast: tuple[float, float, float]
    turn: float


def draw_chromatic(rng: np.random.Generator) -> ChromaticPlan:
    """The published ranges (U: mean +- spread, N: normal; exponents for powers and factors)."""
    return ChromaticPlan(
        brightness=(math.exp(rng.uniform(-0.6, 0.2)), math.exp(rng.uniform(-0.4, 0.4)), rng.uniform(-0.03, 0.03)),
        saturation=(math.exp(rng.uniform(-0.4, 0.4)), math.exp(rng.uniform(-0.8, 0.2)), rng.uniform(-0.03, 0.03)),
        colour=np.stack((np.exp(rng.normal(0, 0.4, 2)), np.exp(rng.normal(0, 0.2, 2)), rng.normal(0, 0.02, 2)), axis=1),
        contrast=(math.exp(rng.normal(0, 0.4)), math.exp(rng.normal(0, 0.4)), rng.normal(0, 0.04)),
        turn=rng.uniform(-1, 1),
    )


def chromatic(frames: Tensor, plan: ChromaticPlan) -> Tensor:
    """(2, 3, h, w) in 0..1 -> the same; both frames share the statistics that scale the eigen-coordinates."""
    vectors = torch.from_numpy(EIGENVECTORS.astype(np.float32)).to(frames.device)
    eigen = torch.einsum("ij,bjhw->bihw", vectors, frames)
    largest = eigen.abs().amax(dim=(0, 2, 3), keepdim=True).clamp(min=1e-2)
    mean = eigen.mean(dim=(0, 2, 3), keepdim=True)
    spread = (eigen - mean).div_(largest)
    parts = [_bent(spread[:, 0], *plan.contrast)]
    parts += [_bent(spread[:, 1 + axis], *plan.colour[axis].tolist()) for axis in range(2)]
    light, red, green = (part * largest[0, k] + mean[0, k] for k, part in enumerate(parts))
    light = _bent(light / largest[0, 0], *plan.brightness) * largest[0, 0]
    top = float(torch.hypot(largest[0, 1], largest[0, 2]))
    length = torch.hypot(red, green).div_(top)
    power, factor, addend = plan.saturation
    wanted = (length.clamp(min=1e-6).pow(power) + addend).clamp(min=0) * factor
    scale = wanted / length.clamp(min=1e-6)
    cos, sin = math.cos(plan.turn), math.sin(plan.turn)
    turned = torch.stack((light, scale * (red * cos - green * sin), scale * (red * sin + green * cos)), dim=1)
    back = torch.from_numpy(np.linalg.inv(EIGENVECTORS).astype(np.float32)).to(frames.device)
    return torch.einsum("ij,bjhw->bihw", back, turned).clamp_(0, 1)


def _bent(values: Tensor, power: float, factor: float, addend: float) -> Tensor:
    return (values.abs().clamp(min=1e-6).pow(power).copysign(values) + addend) * factor
