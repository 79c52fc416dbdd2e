"""Card of FLAVR."""

from dataclasses import dataclass
from typing import Literal

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class FlavrSettings:
    """What can be changed in FLAVR.

    Attributes:
        inputs: frames that go in; the new ones lie between the middle two.
        outputs: frames that come out: 1 doubles the rate, 3 and 7 make it 4 and 8 times as high.
    """

    inputs: Literal[2, 4] = 4
    outputs: Literal[1, 3, 7] = 1


CARDS = (
    Card(
        name="flavr",
        summary="frame interpolation without flow: 3-D convolutions over two or four frames",
        build="flowzoo.models.video.flavr:Flavr",
        settings=FlavrSettings(),
        parameters=42_061_571,
        task="interpolation",
        paper="Kalluri, Pathak, Chandraker, Tran: FLAVR, WACV 2023",
        parts={
            "features": "18-layer 3-D ResNet with channel gates, no striding in time",
            "decode": "transposed 3-D convolutions with skips, frames joined by a 1x1 convolution",
        },
        checkpoint="flowzoo.checkpoints.flavr:convert",
    ),
)
