"""What a stage that trains optical flow says about its pairs and its loss. No torch import."""

from dataclasses import dataclass
from typing import Literal

from flowzoo.errors import InputError


@dataclass(frozen=True)
class PairSettings:
    """Which pairs, and what is done to them.

    Attributes:
        data: sources and their shares of a batch, as "NAME" or "NAME:share"; see `flowzoo.training.flow.mixture`.
        crop: height and width of the training crops, pixels.
        augmentation: name of the augmentation ("none" only crops); see `flowzoo.training.flow.mixture`.
        rendering: where pairs that are rendered while training are made: by the "loader" processes one by one, or on
            the training "device" a batch at a time, which pays where a GPU stands beside few cores.
        augmenting: where pairs are augmented: by the "loader" processes one by one, or on the training "device" a batch
            at a time (colours in eigen-space and scattered ground truth stay with the processes).
        pool: with augmenting on the device: so many pairs are kept there, and every sample takes any of them, so that a
            batch mixes many pairs however often each is taken; a resumed run fills it anew. 0: samples take their own.
        scene: height and width at which scenes of optical flow are rendered, pixels.
        repeats: samples in a row that come from one pair, each augmented anew: where rendering or reading a pair takes
            longer than a step of training does with it.
        labels: folder that `flowzoo distill` wrote, relative to the data's; its flow is a second ground truth.
        both_directions: one sample for two pairs that are each other's reverse, or a rendered pair with both flows, and
            the mean of both losses; for networks with both_directions or flow_cues.
    """

    data: tuple[str, ...] = ("synthetic",)
    crop: tuple[int, int] = (320, 448)
    augmentation: str = "flownet2"
    rendering: Literal["loader", "device"] = "loader"
    augmenting: Literal["loader", "device"] = "loader"
    pool: int = 0
    scene: tuple[int, int] = (288, 384)
    repeats: int = 1
    labels: str = ""
    both_directions: bool = False

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise InputError(f"setting 'crop' is height,width in pixels, not {self.crop}")
        if not 1 <= self.repeats <= 1000:
            raise InputError(f"setting 'repeats' must be 1 to 1000, not {self.repeats}")
        if not 0 <= self.pool <= 100_000:
            raise InputError(f"setting 'pool' must be 0 to 100000 pairs, not {self.pool}")
        if not self.data:
            raise InputError("setting 'data' is empty: name at least one source")


@dataclass(frozen=True)
class LossSettings:
    """What is minimised.

    Attributes:
        loss: "charbonnier" (du^2+dv^2+epsilon)^exponent, "robust-l1" (|du|+|dv|+epsilon)^exponent, "density" (HD3), or
            "sequence" (RAFT): gamma^(n-k) |f_k - truth| of the flow after each of n iterations.
        gamma: of the sequence loss. largest: pixels; longer true flow does not count in it.
        level_weights: of the pyramid's sizes, coarse to fine; full_weight: of the flow at full size.
        unit: pixels that count as an error of 1. reduction: "sum" over pixels, as published, or "mean".
        shrinking: how true flow gets to a level's size; upsample: enlarge the levels' flows instead (sparse truth).
        max_pooling: share of a level's known pixels that counts, those with the largest losses; 1 = all (off).
        reach: with max_pooling, the largest rest that a level can add, in pixels of the level; pixels beyond it count
            as 0. The density loss knows its own reach.
        matching: weight of the divergence of a global matcher's density from the true position; 0 = none.
        distillation: with labels, weight of the loss against ground truth; the rest goes to the labels.
    """

    loss: Literal["charbonnier", "robust-l1", "density", "sequence"] = "charbonnier"
    gamma: float = 0.8
    largest: float = 400.0
    exponent: float = 0.5
    epsilon: float = 0.01
    level_weights: tuple[float, ...] = (0.32, 0.08, 0.02, 0.01, 0.005)
    full_weight: float = 0.0
    unit: float = 20.0
    reduction: Literal["sum", "mean"] = "sum"
    shrinking: Literal["average", "caffe", "bilinear"] = "caffe"
    upsample: bool = False
    max_pooling: float = 1.0
    reach: float = 4.0
    matching: float = 0.0
    distillation: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.max_pooling <= 1 or not self.reach > 0:
            raise InputError(
                f"max_pooling must be above 0 up to 1 and reach above 0, not {self.max_pooling} and {self.reach}"
            )
        for name in ("full_weight", "matching", "epsilon", "gamma"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"setting {name!r} must be a number, 0 or more, not {getattr(self, name)}")
        if not all(0 <= weight < float("inf") for weight in self.level_weights):
            raise InputError(f"setting 'level_weights' must be numbers, 0 or more, not {self.level_weights}")
        if not 0 <= self.distillation <= 1:
            raise InputError(f"setting 'distillation' must be 0 to 1, not {self.distillation}")


@dataclass(frozen=True)
class FlowSettings:
    """The two together; a preset names their settings beside those of `Stage`."""

    pairs: PairSettings = PairSettings()
    loss: LossSettings = LossSettings()
