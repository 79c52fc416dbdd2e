"""What air and camera add to finished frames: veils, blur, gain, gamma, noise."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from flowzoo.devices import moved
from flowzoo.synthetic.scene import FramePlan, Scene, Veil

CELL = 8  # pixels between the points where a veil is computed
POOL_MARGIN = 256  # the noise of a frame is cut from a pool at one of 256 x 256 places


@dataclass
class Air:
    """The tensors that one frame of a scene takes, small ones, made on the CPU (see `transfer`).

    veils: for each a density (1, 1, rows, columns), CELL pixels apart, and a colour (3, 1, 1). gain: (3, 1, 1).
    """

    veils: list[tuple[Tensor, Tensor]]
    gain: Tensor


def air_of(scene: Scene, size: tuple[int, int]) -> tuple[Air, Air]:
    """For both frames, of `size` (height, width)."""
    first, second = (
        Air(
            [(_density(veil, size, second=second), _colours(veil.colour)) for veil in scene.veils],
            _colours(scene.frames[second].gain),
        )
        for second in (False, True)
    )
    return first, second


def _colours(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _density(veil: Veil, size: tuple[int, int], *, second: bool) -> Tensor:
    dx, dy = veil.shift if second else (0.0, 0.0)
    rows, columns = (-(-side // CELL) + 1 for side in size)
    x = torch.arange(columns, dtype=torch.float32) * CELL - dx
    y = (torch.arange(rows, dtype=torch.float32) * CELL - dy)[:, None]
    total = torch.full((rows, columns), veil.bias)
    for vx, vy, phase, weight in veil.waves.tolist():
        total += weight * torch.cos(vx * x + vy * y + phase)
    return (torch.sigmoid(total) * veil.strength)[None, None]


def veiled(frame: Tensor, veils: list[Veil], air: Air) -> Tensor:
    """A frame (3, H, W) behind its veils."""
    height, width = frame.shape[-2:]
    for veil, (density, colour) in zip(veils, air.veils, strict=True):
        rows, columns = density.shape[-2:]
        full = functional.interpolate(
            density, size=((rows - 1) * CELL + 1, (columns - 1) * CELL + 1), mode="bilinear", align_corners=True
        )[0, :, :height, :width]
        frame = torch.lerp(frame, frame * colour if veil.multiply else colour.expand_as(frame), full)
    return frame


def blurred(frame: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (3, H, W) by `sigma` pixels, borders replicated."""
    reach = max(1, int(2.5 * sigma + 0.5))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    taps = (weights / weights.sum()).tolist()
    height, width = frame.shape[-2:]
    wide = functional.pad(frame[None], (reach, reach, reach, reach), mode="replicate")[0]
    rows = torch.zeros((frame.shape[0], height, width + 2 * reach), device=frame.device)
    for k, tap in enumerate(taps):
        rows.add_(wide[:, k : k + height], alpha=tap)
    total = torch.zeros_like(frame)
    for k, tap in enumerate(taps):
        total.add_(rows[:, :, k : k + width], alpha=tap)
    return total


@lru_cache(maxsize=4)
def noise_pool(height: int, width: int, device: torch.device) -> Tensor:
    """Unit Gaussian noise (3, height + 256, width + 256), mostly the same in the three channels."""
    source = torch.Generator().manual_seed(20240)
    grey = torch.randn((1, height + POOL_MARGIN, width + POOL_MARGIN), generator=source)
    colour = torch.randn((3, height + POOL_MARGIN, width + POOL_MARGIN), generator=source)
    return moved(0.8 * grey + 0.6 * colour, device)


def exposed(frame: Tensor, plan: FramePlan, gain: Tensor) -> Tensor:
    """Gain, offset, gamma and noise on a frame (3, H, W); the result is within 0..1."""
    height, width = frame.shape[-2:]
    if plan.gain != (1.0, 1.0, 1.0) or plan.offset != 0:
        frame = frame * gain + plan.offset
    if plan.gamma != 1:
        frame = frame.clamp(0, 1).pow(plan.gamma)
    if plan.noise > 0:
        top, left = plan.noise_corner
        pool = noise_pool(height, width, frame.device)
        frame = frame.add(pool[:, top : top + height, left : left + width], alpha=plan.noise)
    return frame.clamp(0, 1)


def finish(first: Tensor, second: Tensor, scene: Scene, airs: tuple[Air, Air]) -> tuple[Tensor, Tensor]:
    """Both frames (3, H, W) of a scene after air and camera; `airs` from `air_of`."""
    finished = []
    for number, frame in enumerate((first, second)):
        frame = veiled(frame, scene.veils, airs[number])
        if scene.blur > 0:
            frame = blurred(frame, scene.blur)
        finished.append(exposed(frame, scene.frames[number], airs[number].gain))
    return finished[0], finished[1]
