"""Card of wren, the zoo's own compact network and the default of `flowzoo infer`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from flowzoo.errors import InputError
from flowzoo.zoo.card import Card
from flowzoo.zoo.shared import PyramidSettings, at_least


@dataclass(frozen=True)
class WrenSettings(PyramidSettings):
    """What can be changed in wren.

    Attributes:
        channels: feature channels at 1/2, 1/4, ... 1/64 of the image.
        matching_channels: channels that are matched, at every level.
        matching: "local" looks for the second map's pixels around where the coarser levels lead; "global" also compares
            all pixels with all at 1/16, and lets a small network choose between the two; "attention" does that with
            features that see both images by attention at 1/32 before they are compared.
        attention_blocks: with matching "attention": self-attention, cross-attention and feed-forward layers in each.
        normalisation: of the matched maps of a pair: "joint" over all channels, or each "channel" alone, which starts
            to match after fewer steps of training.
        width: channels inside the decoder that the levels from 1/64 to 1/4 share.
        hidden: channels of the state that the decoder hands to the next finer level.
        iterations: how often the decoder runs at 1/64, 1/32, ... 1/4; the second map is warped anew for each run. 0 at
            the last levels: the flow of the one before is enlarged, for training what only coarser levels have.
        upsampling: of the flow from 1/4 of the image: "convex" (learned), or "bilinear" (the first stages of training).
        cascade: run again on the pair at twice the size, starting from the flow of the first run: four times the
            time, finer small motion.
        refinement: "variational" polishes the flow by minimising a brightness, gradient and smoothness energy, and
            takes a weighted median where motions meet (only outside training; not differentiable).
    """

    RENAMED: ClassVar[dict[str, str]] = {"radius": "cost_range"}

    channels: tuple[int, int, int, int, int, int] = (24, 40, 64, 80, 96, 96)
    matching_channels: int = 32
    matching: Literal["local", "global", "attention"] = "local"
    attention_blocks: int = 4
    normalisation: Literal["joint", "channel"] = "joint"
    width: int = 80
    hidden: int = 16
    iterations: tuple[int, int, int, int, int] = (2, 2, 2, 2, 1)
    upsampling: Literal["convex", "bilinear"] = "convex"
    stop_flow_gradient: bool = True
    cascade: bool = False
    refinement: Literal["variational", "none"] = "variational"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "attention_blocks")
        decoded = [entry > 0 for entry in self.iterations]
        if min(self.iterations) < 0 or not decoded[0] or decoded != sorted(decoded, reverse=True):
            raise InputError(
                f"iterations must be at least 1 at every level, or 0 from some level on, got {self.iterations}"
            )
        if self.cascade and not all(decoded):
            raise InputError(f"the cascade needs iterations of at least 1 at every level, got {self.iterations}")

    @property
    def matches_globally(self) -> bool:
        """Whether all pixels are compared with all."""
        return self.matching != "local"

    @property
    def decoded_iterations(self) -> tuple[int, ...]:
        """`iterations` of the levels that are decoded."""
        return tuple(entry for entry in self.iterations if entry)


CARDS = (
    Card(
        name="wren",
        summary="The zoo's own compact network: one decoder for all levels, trained on synthetic pairs only.",
        build="flowzoo.models.wren:Wren",
        settings=WrenSettings(),
        parameters=886_618,
        default_weights="wren",
        paper="none: flowzoo's own, made from parts of the other networks",
        parts={
            "features": "six strided levels, both images in one batch, normalised together",
            "align": "warp",
            "measure": "correlation, radius 4",
            "decode": "one residual decoder shared by all levels, 1/64 to 1/4, with a hidden state",
            "regularise": "convex upsampling, variational refinement, weighted median at motion boundaries",
        },
    ),
)
