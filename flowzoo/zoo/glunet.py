"""Cards of GLU-Net, GLU-Net-GOCor and Semantic-GLU-Net."""

from dataclasses import dataclass, replace
from typing import Literal

from flowzoo.zoo.card import Card
from flowzoo.zoo.shared import GOCorSettings, at_least


@dataclass(frozen=True)
class MatchingSettings:
    """What GLU-Net and BaseNet share.

    Attributes:
        global_matching: at the coarsest level: "correlation", "consensus" (correlation filtered by NC-Net's 4D
            convolutions), or "gocor".
        mutual_matching: whether plain global correlation is weighted by mutual matching.
        local_matching: at the other levels: "correlation" or "gocor", one module for all of them.
        gocor_global_iterations, gocor_local_iterations: steps of GOCor's optimisers in evaluation.
        gocor_training_iterations: the same in training, of both.
        gocor_query_loss: whether the global module's objective has its term on the query image.
        gocor_local_query_loss: the same of the local module.
        gocor_objective: "robust", or "linear" for plain linear regression, of the global module.
        gocor_initialiser: of the global module's filter map.
        gocor_smoothing: eta of the objective's smooth form; 0 is the exact one.
        input_rounding: "float", or "8-bit" where resized images are cut to whole grey levels, as older code did.
        train_backbone: whether VGG-16 is trained, too.
    """

    global_matching: Literal["correlation", "consensus", "gocor"] = "correlation"
    mutual_matching: bool = True
    local_matching: Literal["correlation", "gocor"] = "correlation"
    gocor_global_iterations: int = 3
    gocor_local_iterations: int = 7
    gocor_training_iterations: int = 3
    gocor_query_loss: bool = True
    gocor_local_query_loss: bool = False
    gocor_objective: Literal["robust", "linear"] = "robust"
    gocor_initialiser: Literal["zero", "simple", "flexible-simple", "context", "flexible-context"] = "flexible-context"
    gocor_smoothing: float = 0.0
    input_rounding: Literal["float", "8-bit"] = "float"
    train_backbone: bool = False

    def __post_init__(self) -> None:
        names = ("gocor_global_iterations", "gocor_local_iterations", "gocor_training_iterations", "gocor_smoothing")
        at_least(self, 0, *names)

    @property
    def global_gocor(self) -> GOCorSettings:
        """Of the coarsest level's module."""
        return GOCorSettings(
            iterations=self.gocor_global_iterations,
            training_iterations=self.gocor_training_iterations,
            query_loss=self.gocor_query_loss,
            initialiser=self.gocor_initialiser,
            objective=self.gocor_objective,
            smoothing=self.gocor_smoothing,
        )

    @property
    def local_gocor(self) -> GOCorSettings:
        """Of the module that all other levels share."""
        return GOCorSettings(
            iterations=self.gocor_local_iterations,
            training_iterations=self.gocor_training_iterations,
            query_loss=self.gocor_local_query_loss,
            smoothing=self.gocor_smoothing,
        )


@dataclass(frozen=True)
class GLUNetSettings(MatchingSettings):
    """A GLU-Net: two levels on the pair at 256x256, two at its own size.

    Attributes:
        semantic_features: whether the features of the two coarse levels are stacked from several levels.
        iterative_refinement: further passes between 256x256 and images much larger than that (evaluation only).
        refinement_size: what decides on their number: "width" (as the published results have it, tall images
            included) or the "longer-side".
        flipping: try the mirrored first image, too, and keep the better one (evaluation only; for semantic pairs).
    """

    semantic_features: bool = False
    iterative_refinement: bool = True
    refinement_size: Literal["width", "longer-side"] = "width"
    flipping: bool = False


_GLUNET = GLUNetSettings()
_PARTS = {
    "features": "VGG-16 of ImageNet, at 256x256 and at the images' own size",
    "align": "warp",
    "measure": "global correlation at 16x16, then correlation 9x9",
    "decode": "mapping at 16x16, then densely connected with batch norm",
    "regularise": "dilated context networks at 32x32 and at 1/4",
}
_PAPER = "Truong, Danelljan, Timofte: GLU-Net, CVPR 2020"

CARDS = (
    Card(
        name="glunet",
        summary="geometric matching: global correlation at a fixed size, local ones at the images' own",
        build="flowzoo.models.glunet:GLUNet",
        settings=_GLUNET,
        parameters=13_590_488,
        paper=_PAPER,
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.glunet:convert",
        notes="7,635,264 of the parameters are VGG-16, not trained. The images may have different sizes.",
    ),
    Card(
        name="glunet-gocor",
        summary="GLU-Net with GOCor's global and local matching",
        build="flowzoo.models.glunet:GLUNet",
        settings=replace(_GLUNET, global_matching="gocor", local_matching="gocor", mutual_matching=False),
        parameters=13_594_025,
        paper="Truong, Danelljan, Van Gool, Timofte: GOCor, NeurIPS 2020",
        parts=_PARTS | {"measure": "global GOCor at 16x16, then local GOCor 9x9"},
        checkpoint="flowzoo.checkpoints.glunet:convert",
        notes="Trained with 3 optimiser iterations; the published results use 3 globally and 7 locally.",
    ),
    Card(
        name="semantic-glunet",
        summary="GLU-Net for images of different objects of one kind",
        build="flowzoo.models.glunet:GLUNet",
        settings=replace(_GLUNET, global_matching="consensus", semantic_features=True, refinement_size="longer-side"),
        parameters=13_600_229,
        paper=_PAPER,
        parts=_PARTS
        | {
            "features": "VGG-16 of ImageNet, several levels stacked at 256x256",
            "measure": "global correlation with neighbourhood consensus at 16x16, then correlation 9x9",
        },
        checkpoint="flowzoo.checkpoints.glunet:convert",
        notes="For mirrored objects set flipping=true.",
    ),
)
