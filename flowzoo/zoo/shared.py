"""Settings that several families share: how a pyramid level matches, and GOCor's optimiser."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowzoo.errors import InputError

COST_VOLUMES = {
    "warp": "flowzoo.blocks.cost_volume:WarpedCorrelation",
    "sample": "flowzoo.blocks.sampled_volume:SampledCorrelation",
    "sample-sad": "flowzoo.blocks.sampled_volume:SampledDifference",
    "gocor": "flowzoo.blocks.gocor_volume:GOCorVolume",
}
"""Every kind of cost volume and its block, "module:class": a new kind is one line here and that block."""

if TYPE_CHECKING:
    CostVolumeKind = str
else:
    CostVolumeKind = Literal[tuple(COST_VOLUMES)]


@dataclass(frozen=True)
class GOCorSettings:
    """One of GOCor's modules.

    Attributes:
        iterations, training_iterations: steps of its optimiser in evaluation and in training.
        query_loss: whether its objective has the term on the query image.
        initialiser: of the filter map.
        objective: "robust", or "linear" for plain linear regression.
        smoothing: eta of the objective's smooth form (equation 4b), in units of a correlation; 0 is the exact one.
        steplength_regularisation: this times |gradient|^2 is added to the step length's denominator.
    """

    iterations: int = 3
    training_iterations: int = 3
    query_loss: bool = False
    initialiser: Literal["zero", "simple", "flexible-simple", "context", "flexible-context"] = "simple"
    objective: Literal["robust", "linear"] = "robust"
    smoothing: float = 0.0
    steplength_regularisation: float = 0.0


@dataclass(frozen=True)
class PyramidSettings:
    """What networks share that match at every level of a pyramid.

    Attributes:
        cost_volume: how a level aligns and measures, one of `COST_VOLUMES`. "warp" is correlation with warped features,
            as in PWC-Net; "sample" and "sample-sad" read the second features where the flow leads, equations 2 and 3 of
            "Improving Optical Flow on a Pyramid Level"; "gocor" is GOCor's optimised filter map.
        cost_range: radius of the cost volume, in its steps.
        gocor_iterations, gocor_training_iterations: steps of GOCor's optimiser with cost_volume "gocor".
        stop_flow_gradient: cut the gradient of flow between levels (section 3.3 of the same paper).
        flow_cues: four occlusion cues as further inputs of the decoders (sections 3.2 and 3.4).
        both_directions: infer the reverse flow, too, in the same pass (always so with `flow_cues`).
    """

    cost_volume: CostVolumeKind = "warp"
    cost_range: int = 4
    gocor_iterations: int = 3
    gocor_training_iterations: int = 3
    stop_flow_gradient: bool = False
    flow_cues: bool = False
    both_directions: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.cost_range <= 16:
            raise InputError(f"cost_range must be 1 to 16, got {self.cost_range}")
        at_least(self, 0, "gocor_iterations", "gocor_training_iterations")

    @property
    def gocor(self) -> GOCorSettings:
        """Of the levels' modules."""
        return GOCorSettings(iterations=self.gocor_iterations, training_iterations=self.gocor_training_iterations)

    @property
    def infers_both(self) -> bool:
        """Whether both directions are inferred."""
        return self.flow_cues or self.both_directions


def at_least(settings: object, least: float, *names: str) -> None:
    """Refuse settings that are too small.

    Raises:
        InputError: naming the first of `names` that is below `least`.
    """
    for name in names:
        if getattr(settings, name) < least:
            raise InputError(f"{name} must be {least} or more, got {getattr(settings, name)}")
