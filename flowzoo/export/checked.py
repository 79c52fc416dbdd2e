"""Whether a written file gives the flow of the network that it was made from."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.export.program import FlowProgram

LARGEST_DIFFERENCE = {torch.float32: 1e-2, torch.float16: 0.5, torch.bfloat16: 2.0}
"""Pixels, by precision."""
MOST_BEYOND = 1e-3
"""Share of the pixels that may differ by more: networks with hard choices (HD3) flip a few at the last bit."""


@dataclass
class Checked:
    """What was compared.

    Attributes:
        shapes: (batch, height, width) of each comparison.
        largest: largest difference of a flow component from the network's, in pixels.
        notes: what the file leaves out of the network, in words.
        bytes: size of the file.
    """

    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    largest: float = 0.0
    notes: list[str] = field(default_factory=list)
    bytes: int = 0


def sample_pair(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Smooth random textures and the same ones moved by (3, 2) pixels: (B,3,H,W) float32 in [0,1] twice."""
    generator = torch.Generator().manual_seed(height * width + batch)
    coarse = torch.rand(batch, 3, -(-height // 8) + 3, -(-width // 8) + 3, generator=generator)
    fine = F.interpolate(coarse, scale_factor=8, mode="bicubic", align_corners=False).clamp(0, 1)
    return fine[..., 6 : 6 + height, 7 : 7 + width].contiguous(), fine[..., 4 : 4 + height, 4 : 4 + width].contiguous()


def check(
    program: FlowProgram, run: Callable[[Tensor, Tensor], Tensor], shapes: list[tuple[int, int, int]], found: Checked
) -> None:
    """Compare `run` with the network at all shapes, and note it in `found`.

    Raises:
        InputError: they differ by more than rounding.
    """
    limit = LARGEST_DIFFERENCE[next(program.network.parameters()).dtype]
    for batch, height, width in shapes:
        pair = sample_pair(batch, height, width)
        with torch.no_grad():
            wanted = program(*pair)
        flow = run(*pair)
        where = f"at {width}x{height}, batch {batch}"
        if flow.shape != wanted.shape:
            raise InputError(f"{where} it gives {tuple(flow.shape)} instead of {tuple(wanted.shape)}")
        difference = (flow - wanted).abs().nan_to_num(torch.inf)
        if (difference > limit).double().mean() > MOST_BEYOND:
            raise InputError(f"{where} its flow is up to {difference.max():.2g} px from the network's")
        found.shapes.append((batch, height, width))
        found.largest = max(found.largest, difference.max().item())
