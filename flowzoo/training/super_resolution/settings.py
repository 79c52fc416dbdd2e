"""What a stage that trains super-resolution says about its clips and its loss. No torch import."""

from dataclasses import dataclass
from typing import Literal

from flowzoo.errors import InputError


@dataclass(frozen=True)
class ClipSettings:
    """Which clips, and what is done to them.

    Attributes:
        data: sources and their shares of a batch, as "NAME", "NAME/SUBSET" or "NAME:share": packed-clips (written by
            tools/pack_clips.py), photographs (clips rendered while training), or a data set: reds, vimeo90k, clips.
        crop: side of the square of the small frames that is trained on, pixels; 0 = whole frames.
        degradation: how small frames are made; "stored" = as the data set ships them, else bicubic.
        turn: flip, transpose and reverse clips at random.
        frames: of a clip, for networks that take any number.
        mirror: clips are played on backwards, which doubles their length (BasicVSR on Vimeo-90K).
        flow_weights: tag or file of weights for the flow network inside, which it starts with (and keeps, where it is
            frozen); "" = the default weights of that network, or random ones for a part that is trained with the rest.
    """

    data: tuple[str, ...] = ("packed-clips",)
    crop: int = 64
    degradation: Literal["stored", "bicubic", "blur-centred", "blur-corner"] = "stored"
    turn: bool = True
    frames: int = 7
    mirror: bool = False
    flow_weights: str = ""

    def __post_init__(self) -> None:
        if self.crop < 0 or self.frames < 1:
            raise InputError(
                f"settings 'crop' must be 0 or more and 'frames' 1 or more, not {self.crop}, {self.frames}"
            )
        if not self.data:
            raise InputError("setting 'data' is empty: name at least one source")


@dataclass(frozen=True)
class EnlargingLossSettings:
    """What is minimised.

    Attributes:
        loss: "charbonnier", sqrt(d^2 + epsilon^2), "l1", or "l2", d^2; d is a difference of values in 0..1.
        epsilon: see there.
        reduction: "mean" over all values, or "sum" over those of a sample (and the mean over samples).
        aligned_weight: of the same loss between every aligned frame, where the network gives such, and the middle one.
        fidelity_weight: of the offset-fidelity loss, lambda in equation 4; 0 = without.
        fidelity_threshold: t in equation 5, pixels of each level.
        fidelity_reduction: over pixels: "mean" as in the published code, "sum" as in equation 5.
        fidelity_levels: names of the alignments that it constrains; flow says nothing about a cascade, whose target is
            no motion.
        fidelity_flow: flow network of the zoo, with its default weights, that offsets are compared with.
    """

    loss: Literal["charbonnier", "l1", "l2"] = "charbonnier"
    epsilon: float = 1e-6
    reduction: Literal["mean", "sum"] = "mean"
    aligned_weight: float = 0.0
    fidelity_weight: float = 0.0
    fidelity_threshold: float = 10.0
    fidelity_reduction: Literal["mean", "sum"] = "mean"
    fidelity_levels: tuple[str, ...] = ("l1", "l2", "l3")
    fidelity_flow: str = "wren"

    def __post_init__(self) -> None:
        for name in ("epsilon", "aligned_weight", "fidelity_weight", "fidelity_threshold"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"setting {name!r} must be a number, 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class SuperResolutionSettings:
    """The two together; a preset names their settings beside those of `Stage`."""

    clips: ClipSettings = ClipSettings()
    loss: EnlargingLossSettings = EnlargingLossSettings()
