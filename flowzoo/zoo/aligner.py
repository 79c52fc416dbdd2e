"""Card of the network of the alignment experiment."""

from dataclasses import dataclass

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class AlignerSettings:
    """What the alignment experiment changes.

    Attributes:
        offsets: N, places read for every pixel.
        groups: G, groups of channels with offsets of their own.
        channels: of the features.
        start: where all offsets start, pixels, instead of close to the pixel; far outside it is an overflow.
    """

    offsets: int = 9
    groups: int = 1
    channels: int = 16
    start: float = 0.0


CARDS = (
    Card(
        name="aligner",
        summary="rebuilds a frame from the aligned features of its neighbour alone; for experiments",
        build="flowzoo.models.video.aligner:Aligner",
        settings=AlignerSettings(),
        parameters=40_501,
        paper="Chan, Wang, Yu, Dong, Loy: Understanding Deformable Alignment in Video Super-Resolution, AAAI 2021; the "
        "network is ours",
        parts={
            "features": "a convolution and a residual block",
            "align": "deformable, N offsets without masks, from two levels",
            "decode": "two convolutions",
        },
        task="alignment",
    ),
)
