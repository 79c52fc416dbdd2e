"""Cards of RAFT."""

from dataclasses import dataclass, replace
from typing import Literal

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class RAFTSettings:
    """A RAFT. Everything but the last step happens at 1/8 of the image.

    Attributes:
        iterations: updates of the flow, 12 unless set; the authors score Sintel with 32 and KITTI with 24.
        cost_volume: how the correlation of all pairs is had: "stored", "on-demand" (memory grows with the pixels, not
            with their square), or "auto": on demand where a native kernel does it, else stored where there is memory
            for it. The flow is the same.
        padding: how images get sides that are multiples of 8, by repeating their border: "sintel" on all sides, "kitti"
            with all rows at the bottom.
        batch_norm: of the context encoder: "frozen" keeps its statistics while training (as the authors do after
            FlyingChairs), "trained" does not.
        block: of the encoders, "residual" or "bottleneck".
        channels: of the encoders' first layer and of their three stages.
        features: channels that are matched.
        hidden, context: channels of the recurrent state and of the context features.
        context_norm: of the context encoder.
        radius, levels: of the look-ups.
        cost_channels, flow_channels, motion_channels: of the encoder of costs and flow.
        recurrence: "separable" (1x5, then 5x1) or "square" (3x3).
        head_channels: inside the flow head.
        upsampling: of the flow from 1/8: "convex" (learned) or "bilinear".
    """

    iterations: int = 12
    cost_volume: Literal["auto", "stored", "on-demand"] = "auto"
    padding: Literal["sintel", "kitti"] = "sintel"
    batch_norm: Literal["frozen", "trained"] = "frozen"
    block: Literal["residual", "bottleneck"] = "residual"
    channels: tuple[int, int, int, int] = (64, 64, 96, 128)
    features: int = 256
    hidden: int = 128
    context: int = 128
    context_norm: Literal["batch", "none"] = "batch"
    radius: int = 4
    levels: int = 4
    cost_channels: tuple[int, ...] = (256, 192)
    flow_channels: tuple[int, int] = (128, 64)
    motion_channels: int = 128
    recurrence: Literal["separable", "square"] = "separable"
    head_channels: int = 256
    upsampling: Literal["convex", "bilinear"] = "convex"


_PARTS = {
    "features": "residual encoder to 1/8, instance norm; a second one for context",
    "align": "none: costs are read where the flow leads",
    "measure": "correlation of all pairs on four levels, 9x9 look-ups",
    "decode": "motion encoder, separable gated recurrent unit, one flow residual an iteration",
    "regularise": "convex upsampling from 1/8",
}
_PAPER = "Teed, Deng: RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, ECCV 2020"
_NOTES = (
    "Takes any size; the authors' code gives NaN below 128 pixels. Code is BSD-3-Clause (authors, torchvision); the "
    "weights' own licence is not stated. On a CPU it is computed in float32 whatever precision is asked for, except in "
    "training."
)

CARDS = (
    Card(
        name="raft",
        summary="correlation of all pairs, read again and again by a recurrent update operator",
        build="flowzoo.models.raft:RAFT",
        settings=RAFTSettings(),
        parameters=5_257_536,
        paper=_PAPER,
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.raft:convert",
        notes=_NOTES,
    ),
    Card(
        name="raft-small",
        summary="RAFT with bottleneck encoders, a smaller recurrent unit and bilinear upsampling",
        build="flowzoo.models.raft:RAFT",
        settings=replace(
            RAFTSettings(),
            block="bottleneck",
            channels=(32, 32, 64, 96),
            features=128,
            hidden=96,
            context=64,
            context_norm="none",
            radius=3,
            cost_channels=(96,),
            flow_channels=(64, 32),
            motion_channels=82,
            recurrence="square",
            head_channels=128,
            upsampling="bilinear",
        ),
        parameters=990_162,
        paper=_PAPER,
        parts=_PARTS
        | {
            "measure": "correlation of all pairs on four levels, 7x7 look-ups",
            "decode": "motion encoder, gated recurrent unit, one flow residual an iteration",
            "regularise": "none: bilinear upsampling from 1/8",
        },
        checkpoint="flowzoo.checkpoints.raft:convert",
        notes=_NOTES,
    ),
)
