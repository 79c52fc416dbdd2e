"""Cards of PWC-Net."""

from dataclasses import dataclass, replace
from typing import Literal

from flowzoo.errors import InputError
from flowzoo.zoo.card import Card
from flowzoo.zoo.shared import PyramidSettings, at_least

LEVELS = 6


@dataclass(frozen=True)
class PWCNetSettings(PyramidSettings):
    """A PWC-Net. Level l has 1/2^l of the input's size; flow is inferred at levels 6..2.

    Attributes:
        feature_channels: channels of levels 1..6.
        convolutions: convolutions a feature level (3 as published, 2 in the paper).
        decoder_channels: growth of the densely connected decoder.
        dense_order: for each decoder convolution, whether its output goes in "front" of its input or to the "end".
        mask_threshold: warped features count where the warped all-ones map reaches this value, else they are 0.
        context: whether the dilated context network refines the last flow.
        input_resize: how images get sides that are multiples of 64: "float", or "8-bit" as Pillow rounds them.
    """

    feature_channels: tuple[int, ...] = (16, 32, 64, 96, 128, 196)
    convolutions: int = 3
    decoder_channels: tuple[int, ...] = (128, 128, 96, 64, 32)
    dense_order: tuple[Literal["front", "end"], ...] = ("front",) * 5
    mask_threshold: float = 0.9999
    gocor_iterations: int = 7
    context: bool = True
    input_resize: Literal["float", "8-bit"] = "float"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "convolutions")
        if len(self.feature_channels) != LEVELS:
            raise InputError(f"feature_channels needs {LEVELS} values, got {self.feature_channels}")
        if len(self.dense_order) != len(self.decoder_channels):
            raise InputError("dense_order needs one value for each of decoder_channels")


_PARTS = {
    "features": "6 stride-2 levels",
    "align": "warp, masked outside the image",
    "measure": "correlation 9x9",
    "decode": "densely connected",
    "regularise": "dilated context network",
}
_PAPER = "Sun, Yang, Liu, Kautz: PWC-Net, CVPR 2018"
_LICENCE = "The authors' weights are CC BY-NC-SA 4.0."

CARDS = (
    Card(
        name="pwcnet",
        summary="pyramid, warping and cost volume with dense decoders and a context network, as published",
        build="flowzoo.models.pwcnet:PWCNet",
        settings=PWCNetSettings(),
        parameters=9_374_340,
        paper=_PAPER,
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.pwcnet:convert",
        notes=_LICENCE,
    ),
    Card(
        name="pwcnet-paper",
        summary="PWC-Net with the paper's smaller feature extractor",
        build="flowzoo.models.pwcnet:PWCNet",
        settings=replace(
            PWCNetSettings(),
            convolutions=2,
            dense_order=("end", "front", "end", "end", "end"),
            mask_threshold=0.999,
        ),
        parameters=8_749_280,
        paper=_PAPER,
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.pwcnet:convert",
        notes=_LICENCE,
    ),
    Card(
        name="pwcnet-gocor",
        summary="PWC-Net whose five correlations use GOCor's optimised filter maps",
        build="flowzoo.models.pwcnet:PWCNet",
        settings=replace(PWCNetSettings(), cost_volume="gocor", input_resize="8-bit"),
        parameters=9_374_505,
        paper="Truong, Danelljan, Van Gool, Timofte: GOCor, NeurIPS 2020",
        parts=_PARTS | {"measure": "local GOCor 9x9"},
        checkpoint="flowzoo.checkpoints.pwcnet_gocor:convert",
        notes="The authors' weights were trained with 3 optimiser iterations; their results use 7. "
        "Code and weights are CC BY-NC-SA 4.0.",
    ),
)
