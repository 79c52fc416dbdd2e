"""Cards of LiteFlowNet, LiteFlowNet2 (also with the pseudo network of KITTI) and LiteFlowNetX."""

from dataclasses import dataclass, replace
from typing import Literal

from flowzoo.errors import InputError
from flowzoo.zoo.card import Card
from flowzoo.zoo.shared import PyramidSettings

COARSEST = 6


@dataclass(frozen=True)
class LiteFlowNetSettings(PyramidSettings):
    """A LiteFlowNet. Levels are counted as in the papers: level k has 1/2^(k-1) of the input's size.

    Attributes:
        feature_channels: channels of levels 1..6 of NetC.
        finest_level: last level with flow inference; its flow is resized straight to the input's size.
        matching, subpixel, regularisation, warping: whether descriptor matching (M), sub-pixel refinement (S),
            feature-driven local convolution (R) and feature warping (W) are there (Table 6 of LiteFlowNet2's paper).
        matching_channels, subpixel_channels, regularisation_channels: hidden convolutions of M, S and R.
        finest_projection: channels of the 1x1 layer in front of M and S at level 2.
        regularisation_projection: channels of the 1x1 layer in front of R at levels 4 and finer; 0 = no such layer.
        pseudo_level: one more level without cost volume and features (LiteFlowNet2 for KITTI).
        sparse_level: this level and finer ones use steps of 2 pixels at every second pixel; 0 = none (Table 7).
        resampling: "caffe" (the official layers) or "interpolate" (half-pixel bilinear, as in the common port).
    """

    feature_channels: tuple[int, ...] = (32, 32, 64, 96, 128, 192)
    finest_level: int = 2
    matching: bool = True
    subpixel: bool = True
    regularisation: bool = True
    warping: bool = True
    matching_channels: tuple[int, ...] = (128, 64, 32)
    subpixel_channels: tuple[int, ...] = (128, 64, 32)
    regularisation_channels: tuple[int, ...] = (128, 128, 64, 64, 32, 32)
    finest_projection: int = 64
    regularisation_projection: int = 128
    pseudo_level: bool = False
    cost_range: int = 3
    sparse_level: int = 3
    resampling: Literal["caffe", "interpolate"] = "caffe"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.feature_channels) != COARSEST:
            raise InputError(f"feature_channels needs {COARSEST} values, got {self.feature_channels}")
        if not 2 <= self.finest_level <= COARSEST:
            raise InputError(f"finest_level must be 2 to {COARSEST}, got {self.finest_level}")
        if not (self.matching or self.subpixel):
            raise InputError("matching and subpixel are both off: keep at least one of them")
        if self.pseudo_level and not (self.finest_level == 3 and self.subpixel and self.regularisation):
            raise InputError("pseudo_level needs finest_level=3, subpixel and regularisation")
        if self.pseudo_level and self.subpixel_channels[-1] != self.regularisation_channels[-1]:
            raise InputError("pseudo_level needs subpixel_channels and regularisation_channels that end alike")


_LITEFLOWNET = LiteFlowNetSettings(resampling="interpolate")
_LITEFLOWNET2 = LiteFlowNetSettings(
    finest_level=3, matching_channels=(128, 128, 96, 64, 32), subpixel_channels=(128, 128, 96, 64, 32)
)
_LITEFLOWNETX = LiteFlowNetSettings(
    feature_channels=(16, 16, 32, 48, 64, 96),
    matching=False,
    subpixel_channels=(48, 32, 16),
    regularisation_channels=(48, 48, 32, 32, 16, 16),
    finest_projection=48,
    regularisation_projection=0,
    resampling="interpolate",
)
_PARTS = {
    "features": "NetC, 6 levels",
    "align": "f-warp",
    "measure": "correlation 7x7, sparse at the fine levels",
    "decode": "cascaded M:S",
    "regularise": "f-lcon",
}
_LICENCE = "The authors' weights are for academic, non-commercial use."

CARDS = (
    Card(
        name="liteflownet",
        summary="cascaded matching and refinement with feature-driven local convolution, to half resolution",
        build="flowzoo.models.liteflownet:LiteFlowNet",
        settings=_LITEFLOWNET,
        parameters=5_377_917,
        paper="Hui, Tang, Loy: LiteFlowNet, CVPR 2018",
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.liteflownet:convert",
        notes=_LICENCE,
    ),
    Card(
        name="liteflownet2",
        summary="deeper inference, to quarter resolution; faster and better than LiteFlowNet",
        build="flowzoo.models.liteflownet:LiteFlowNet",
        settings=_LITEFLOWNET2,
        parameters=6_428_112,
        paper="Hui, Tang, Loy: A Lightweight Optical Flow CNN, TPAMI 2020",
        parts=_PARTS,
        checkpoint="flowzoo.checkpoints.liteflownet:convert",
        notes=_LICENCE,
    ),
    Card(
        name="liteflownet2-kitti",
        summary="LiteFlowNet2 with the pseudo network at level 2, as fine-tuned for KITTI",
        build="flowzoo.models.liteflownet:LiteFlowNet",
        settings=replace(_LITEFLOWNET2, pseudo_level=True),
        parameters=6_491_963,
        paper="Hui, Tang, Loy: A Lightweight Optical Flow CNN, TPAMI 2020",
        parts=_PARTS | {"decode": "cascaded M:S, pseudo network at level 2"},
        checkpoint="flowzoo.checkpoints.liteflownet:convert",
        notes=_LICENCE,
    ),
    Card(
        name="liteflownetx",
        summary="small variant without descriptor matching",
        build="flowzoo.models.liteflownet:LiteFlowNet",
        settings=_LITEFLOWNETX,
        parameters=897_299,
        paper="Hui, Tang, Loy: A Lightweight Optical Flow CNN, TPAMI 2020",
        parts=_PARTS | {"measure": "none", "decode": "S"},
        notes=(
            "Channels are inferred: no layer table or weights were published; the paper gives 0.90 M parameters and "
            "69 layers, which this configuration meets."
        ),
    ),
)
