"""Card of the flow-based network of "Understanding Deformable Alignment in Video Super-Resolution", footnote 3."""

from dataclasses import dataclass

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class FlowVSRSettings:
    """A flow-based network with several flows a neighbour.

    Attributes:
        flows: N, flow networks, and warps of each neighbour.
        frames: how many it takes, odd; the middle one is enlarged.
    """

    flows: int = 1
    frames: int = 7


CARDS = (
    Card(
        name="flow-vsr",
        summary="TOFlow at the small size, with one or several flow networks a neighbour",
        build="flowzoo.models.video.flow_vsr:FlowVSR",
        settings=FlowVSRSettings(),
        parameters=1_408_824,
        paper="Chan, Wang, Yu, Dong, Loy: Understanding Deformable Alignment in Video Super-Resolution, AAAI 2021",
        parts={
            "features": "none: the frames",
            "align": "image warping by N four-level SPyNets with batch normalisation",
            "fuse": "four convolutions, 9x9, 9x9, 1x1, 1x1, pixel shuffle, plus the bilinear middle frame",
        },
        checkpoint="flowzoo.checkpoints.flow_vsr:convert",
        task="super-resolution",
        notes="The paper describes it in one sentence; what it leaves open is our choice. flows=2: 2,462,912 "
        "parameters, flows=3: 3,517,000.",
    ),
)
