"""Cards of the convolutional frame predictor and the toy experiment's generator."""

from dataclasses import dataclass

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class PredictorSettings:
    """What can be changed in the predictor.

    Attributes:
        width: channels of the first layer (the authors' ngf); 2, 4 and 8 times as many at 1/2, 1/4 and 1/8.
    """

    width: int = 64


@dataclass(frozen=True)
class ToyGeneratorSettings:
    """What can be changed in the toy generator.

    Attributes:
        width: as of the predictor.
    """

    width: int = 64


_PAPER = "Geng, Hamilton, Owens: Comparing Correspondences: Video Prediction with Correspondence-wise Losses, CVPR 2022"

CARDS = (
    Card(
        name="predictor",
        summary="3-D convolutional predictor of the next frame, as the correspondence-wise losses were tried on",
        build="flowzoo.models.video.predictor:Predictor",
        settings=PredictorSettings(),
        parameters=53_439_363,
        task="prediction",
        paper=_PAPER,
        parts={
            "features": "3-D convolutions down to 1/8 of the size, two 3-D residual blocks, the last frame's maps",
            "decode": "four residual blocks, three enlargements",
        },
        checkpoint="flowzoo.checkpoints.predictor:convert",
        notes="Checkpoints of the authors' training script (EPOCH_net_G.pth) import by name; none are published.",
    ),
    Card(
        name="toy-generator",
        summary="one image from fixed noise: the toy experiment of the correspondence-wise losses",
        build="flowzoo.models.video.predictor:ToyGenerator",
        settings=ToyGeneratorSettings(),
        parameters=31_449_603,
        task="prediction",
        paper=_PAPER,
        parts={"decode": "six residual blocks at 1/8 of the size, three transposed convolutions"},
        checkpoint="flowzoo.checkpoints.predictor:convert",
        notes="Its input is noise, not frames: it is of use in that experiment only.",
    ),
)
