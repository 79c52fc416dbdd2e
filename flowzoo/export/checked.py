"""Whether a written file gives the flow of the network that it was made from."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.export.program import FlowProgram
from flowzoo.operators.registration import plain_operators

LARGEST_DIFFERENCE = {torch.float32: 1e-4, torch.float16: 0.5, torch.bfloat16: 2.0}
"""Pixels, by precision."""
SHARE_OF_FLOW = 1e-5
"""Of the longest flow component, where that is more: float32 has no more left after so many layers."""
TIMES_ROUNDING = 10
"""How many times as far from float64 a file may be, on average, as a run of the network in float32 is."""
MOST_ROUNDING = 0.5
"""Pixels, on average, beyond which the two are different flows and float64 says nothing about float32."""
MOST_BEYOND = 1e-3
"""Share of the pixels that may differ by more: networks with hard choices (HD3) flip a few at the last bit."""


@dataclass
class Checked:
    """What was compared.

    Attributes:
        shapes: (batch, height, width) of each comparison.
        largest: largest difference of a flow component from the network's, in pixels.
        rounding: how far the network's own float32 flows are from float64 at most, in pixels, where the difference was
            so large that this was asked; else 0.
        notes: what the file leaves out of the network, in words.
        bytes: size of the file.
    """

    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    largest: float = 0.0
    rounding: float = 0.0
    notes: list[str] = field(default_factory=list)
    bytes: int = 0


def sample_pair(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Smooth random textures and the same ones moved by (3, 2) pixels: (B,3,H,W) float32 in [0,1] twice.

    Of whole grey levels, as images are: networks that round to these take the same ones in float32 and float64.
    """
    generator = torch.Generator().manual_seed(height * width + batch)
    coarse = torch.rand(batch, 3, -(-height // 8) + 3, -(-width // 8) + 3, generator=generator)
    fine = F.interpolate(coarse, scale_factor=8, mode="bicubic", align_corners=False).clamp(0, 1)
    fine = (fine * 255).round() / 255
    return fine[..., 6 : 6 + height, 7 : 7 + width].contiguous(), fine[..., 4 : 4 + height, 4 : 4 + width].contiguous()


def check(
    program: FlowProgram, run: Callable[[Tensor, Tensor], Tensor], shapes: list[tuple[int, int, int]], found: Checked
) -> None:
    """Compare `run` with the network at all shapes, and note it in `found`.

    Raises:
        InputError: they differ by more than rounding.
    """
    precision = next(program.network.parameters()).dtype
    for batch, height, width in shapes:
        pair = sample_pair(batch, height, width)
        with torch.no_grad():
            wanted = program(*pair)
        where = f"at {width}x{height}, batch {batch}"
        if not wanted.isfinite().all():
            kind = str(precision).removeprefix("torch.")
            raise InputError(f"{where} the network itself gives no finite flow in {kind}: choose another --precision")
        flow = run(*pair)
        if flow.shape != wanted.shape:
            raise InputError(f"{where} it gives {tuple(flow.shape)} instead of {tuple(wanted.shape)}")
        difference = (flow - wanted).abs().nan_to_num(torch.inf)
        limit = max(LARGEST_DIFFERENCE[precision], SHARE_OF_FLOW * wanted.abs().max().item())
        differs = (difference > limit).double().mean() > MOST_BEYOND
        if differs and not (precision == torch.float32 and _as_exact(program, pair, wanted, flow, found)):
            raise InputError(f"{where} its flow is up to {difference.max():.2g} px from the network's")
        found.shapes.append((batch, height, width))
        found.largest = max(found.largest, difference.max().item())


def _as_exact(program: FlowProgram, pair: tuple[Tensor, Tensor], wanted: Tensor, flow: Tensor, found: Checked) -> bool:
    """Whether `flow` is about as near to the network's in float64 as flows of the network in float32 are.

    Networks that minimise something (GOCor) turn rounding into hundredths of a pixel, with random weights into more:
    there no two float32 runs with another order of sums agree. How near one run is to float64 is luck, which varies
    tenfold, so the farthest of several counts.
    """
    with torch.no_grad():
        exact = copy.deepcopy(program).double()(*pair)
        own = [(exact - run).abs() for run in (wanted, *_other_runs(program, pair))]
    its = (exact - flow).abs().nan_to_num(torch.inf)
    rounding = max(difference.mean().item() for difference in own)
    found.rounding = max(found.rounding, *(difference.max().item() for difference in own))
    allowed = TIMES_ROUNDING * rounding + LARGEST_DIFFERENCE[torch.float32]
    return bool(rounding <= MOST_ROUNDING and its.mean().item() <= allowed)


def _other_runs(program: FlowProgram, pair: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Flows of the network in float32 that differ by rounding alone."""
    generator, moved = torch.Generator().manual_seed(0), copy.deepcopy(program)
    for weights in moved.parameters():
        signs = torch.randint(0, 2, weights.shape, generator=generator) * 2 - 1
        weights.mul_(1 + torch.finfo(weights.dtype).eps * signs)  # the last bit
    with plain_operators():
        runs = [program(*pair), moved(*pair)]
    return [*runs, moved(*pair)]
