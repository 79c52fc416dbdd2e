"""What a stage that trains on frames says about its clips and its loss. No torch import."""

from dataclasses import dataclass
from typing import Literal

from flowzoo.errors import InputError


@dataclass(frozen=True)
class ClipSettings:
    """Which windows of frames, and what is done to them.

    Attributes:
        data: data sets of clips and their shares of a batch, as "NAME", "NAME/SUBSET" or "NAME/SUBSET:share".
        inputs: places in a window of the frames that go in, from 0.
        targets: places of the frames that should come out. For prediction they follow the inputs.
        resize: height and width that frames get first (bilinear, antialiased), or 0,0: as they are.
        crop: height and width of the window that is taken then, or 0,0: all.
        place: of the crop: the "centre", or "random".
        flips: which mirrorings, each with chance 0.5, of the whole window: "h", "v" and "t" (time).
        jitter: largest relative change of brightness and contrast, alike for the whole window.
        stride: frames from one that is taken to the next.
    """

    data: tuple[str, ...] = ("clips",)
    inputs: tuple[int, ...] = (0, 1, 2)
    targets: tuple[int, ...] = (3, 4, 5)
    resize: tuple[int, int] = (0, 0)
    crop: tuple[int, int] = (0, 0)
    place: Literal["centre", "random"] = "centre"
    flips: tuple[Literal["h", "v", "t"], ...] = ("h",)
    jitter: float = 0.0
    stride: int = 1

    def __post_init__(self) -> None:
        if not self.data:
            raise InputError("setting 'data' is empty: name at least one data set of clips")
        if not self.inputs or not self.targets or min(*self.inputs, *self.targets) < 0:
            raise InputError("settings 'inputs' and 'targets' are places in a window, from 0, at least one each")
        if min(*self.resize, *self.crop) < 0 or self.stride < 1 or not 0 <= self.jitter < 1:
            raise InputError(
                "settings 'resize' and 'crop' cannot be negative, 'stride' is from 1, 'jitter' 0 to below 1"
            )

    @property
    def window(self) -> int:
        """Frames of a window."""
        return max(*self.inputs, *self.targets) + 1


@dataclass(frozen=True)
class FrameLossSettings:
    """What is minimised, summed over the targets; images are in [-1,1] there, as in "Comparing Correspondences".

    Attributes:
        base: "l1", "l2" (squared), "perceptual" (VGG-19), or "l1+perceptual", their mean.
        backbone: file of VGG-19's weights with torchvision's names, for the last two; relative to the data's folder.
        correspondence: compare matching pixels instead of pixels at the same place.
        flow: flow network that finds them; flow_weights: a tag or a file, "" = the network's own; flow_settings: of it.
        scaling: the paper's epsilon.
        flow_model: the found flow, or a weaker map fitted to it (Table 5).
        network_mode: of the flow network: "eval", or "train" as the authors' code leaves it.
        magnitude, smooth, norm, smoothness: of the penalty on the flow (equation 3); 0, 0 = none.
        divergence: weight of KL(posterior || prior) in stochastic networks (beta).
    """

    base: Literal["l1", "l2", "perceptual", "l1+perceptual"] = "l1"
    backbone: str = "vgg19.pth"
    correspondence: bool = False
    flow: str = "raft"
    flow_weights: str = ""
    flow_settings: tuple[str, ...] = ("iterations=5",)
    scaling: float = 0.1
    flow_model: Literal["dense", "affine", "homography", "homography-geometric"] = "dense"
    network_mode: Literal["eval", "train"] = "eval"
    magnitude: float = 0.0
    smooth: float = 0.0
    norm: Literal[1, 2] = 1
    smoothness: Literal["gradient", "edge-1", "edge-2"] = "gradient"
    divergence: float = 1e-4


@dataclass(frozen=True)
class FrameSettings:
    """The two together; a preset names their settings beside those of `Stage`."""

    clips: ClipSettings = ClipSettings()
    loss: FrameLossSettings = FrameLossSettings()
