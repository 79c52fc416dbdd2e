"""Card of BasicVSR."""

from dataclasses import dataclass

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class BasicVSRSettings:
    """A BasicVSR.

    Attributes:
        channels: of the features.
        blocks: residual blocks of each direction.
    """

    channels: int = 64
    blocks: int = 30


CARDS = (
    Card(
        name="basicvsr",
        summary="features carried through the whole clip in both directions, aligned by SPyNet's flow",
        build="flowzoo.models.video.basicvsr:BasicVSR",
        settings=BasicVSRSettings(),
        parameters=6_291_311,
        paper="Chan, Wang, Yu, Dong, Loy: BasicVSR: The Search for Essential Components in Video Super-Resolution and "
        "Beyond, CVPR 2021",
        parts={
            "features": "30 residual blocks a direction",
            "align": "feature warping by SPyNet",
            "fuse": "1x1 convolution of both directions",
            "reconstruct": "two pixel shuffles, plus the bilinear frame",
        },
        checkpoint="flowzoo.checkpoints.basicvsr:convert",
        task="super-resolution",
        notes="The authors' and mmagic's weights are Apache-2.0; the SPyNet inside was trained on from weights whose "
        "own terms are non-commercial research.",
    ),
)
