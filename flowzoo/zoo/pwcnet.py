"""Cards of PWC-Net."""

from dataclasses import dataclass, replace
from typing import Literal

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class PWCNetSettings:
    """A PWC-Net. Level l has 1/2^l of the input's size; flow is inferred at levels 6..2.

    Attributes:
        feature_channels: channels of levels 1..6.
        convolutions: convolutions a feature level (3 as published, 2 in the paper).
        decoder_channels: growth of the densely connected decoder.
        dense_order: for each decoder convolution, whether its output goes in "front" of its input or to the "end".
        mask_threshold: warped features count where the warped all-ones map reaches this value, else they are 0.
        cost_volume: "warp" (as published), "sample", "sample-sad", or "gocor".
        cost_range: radius of the cost volume in pixels of the level.
        gocor_iterations, gocor_training_iterations: steps of GOCor's optimiser with cost_volume "gocor".
        context: whether the dilated context network refines the last flow.
        stop_flow_gradient: cut the gradient of flow between levels ("Improving Optical Flow on a Pyramid Level", 3.3).
        flow_cues: four occlusion cues as further inputs of the decoders (same paper, 3.2).
        both_directions: infer the reverse flow, too, in the same pass (always so with `flow_cues`).
        input_resize: how images get sides that are multiples of 64: "float", or "8-bit" as Pillow rounds them.
    """

    feature_channels: tuple[int, ...] = (16, 32, 64, 96, 128, 196)
    convolutions: int = 3
    decoder_channels: tuple[int, ...] = (128, 128, 96, 64, 32)
    dense_order: tuple[Literal["front", "end"], ...] = ("front",) * 5
    mask_threshold: float = 0.9999
    cost_volume: Literal["warp", "sample", "sample-sad", "gocor"] = "warp"
    cost_range: int = 4
    gocor_iterations: int = 7
    gocor_training_iterations: int = 3
    context: bool = True
    stop_flow_gradient: bool = False
    flow_cues: bool = False
    both_directions: bool = False
    input_resize: Literal["float", "8-bit"] = "float"


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
