"""Ranges of augmentation, and the sets of ranges that the papers use."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from flowzoo.errors import InputError

Range = tuple[float, float]


@dataclass(frozen=True)
class AugmentationSettings:
    """What may happen to a training pair. The default changes nothing but the crop.

    Spatial changes apply to both frames; `relative_*` to the second frame on top, which adds to the flow.
    Colour changes named `common_*` are the same in both frames, `own_*` differ. Amounts of colour are spreads of a
    uniform draw around no change; gains, contrast, saturation and gamma are drawn as factors.
    """

    # both frames
    spatial: float = 1.0  # share of pairs that are zoomed, squeezed and turned
    zoom: Range = (1.0, 1.0)  # factor, log-uniform; raised where the crop would not fit the frame
    squeeze: float = 1.0  # widths are multiplied by a factor in 1/squeeze..squeeze, heights divided by it
    rotation: float = 0.0  # degrees, either way
    translation: float | None = None  # of the crop's centre from the frame's, share of the crop; None: all that fits
    horizontal_flip: float = 0.0  # share
    vertical_flip: float = 0.0  # share
    # the second frame on top
    relative_translation: float = 0.0  # share of the crop's size
    relative_zoom: float = 0.0  # exponent
    relative_rotation: float = 0.0  # degrees
    relative_draw: Literal["uniform", "normal"] = "uniform"  # the three above are half-widths, or standard deviations
    # colours
    colour: float = 1.0  # share of pairs whose colours change
    common_gain: float = 0.0
    common_brightness: float = 0.0
    common_contrast: float = 0.0
    common_saturation: float = 0.0
    common_hue: float = 0.0  # of a full turn
    common_gamma: Range = (1.0, 1.0)
    common_tint: float = 0.0  # gain of single channels
    own_gain: float = 0.0
    own_brightness: float = 0.0
    own_contrast: float = 0.0
    own_gamma: Range = (1.0, 1.0)
    own_tint: float = 0.0
    asymmetric: float = 0.0  # share of pairs whose frames draw the common changes independently
    chromatic: bool = False  # FlowNet2's changes in the space of colour eigenvectors, both frames alike
    # noise and holes
    noise: Range = (0.0, 0.0)  # standard deviation of Gaussian noise on the 0..1 scale, uniform
    eraser: float = 0.0  # share of pairs with rectangles of the second frame filled with its mean colour
    eraser_size: Range = (50.0, 100.0)  # pixels

    def __post_init__(self) -> None:
        for name in ("spatial", "horizontal_flip", "vertical_flip", "colour", "asymmetric", "eraser"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"augmentation setting {name!r} is a share: give 0 to 1, not {getattr(self, name)}")
        for name in ("zoom", "common_gamma", "own_gamma", "noise", "eraser_size"):
            low, high = getattr(self, name)
            smallest = 0.0 if name == "noise" else 1e-3
            if not smallest <= low <= high < math.inf:
                raise InputError(f"augmentation setting {name!r} must be lowest,highest, not {low},{high}")
        if not 1 <= self.squeeze <= 4:
            raise InputError(f"augmentation setting 'squeeze' must be 1 to 4, not {self.squeeze}")
        for entry in dataclasses.fields(self):
            if entry.name.startswith(("common_", "own_", "relative_")) and entry.type in (float, "float"):
                value = getattr(self, entry.name)
                if not 0 <= value < math.inf:
                    raise InputError(f"augmentation setting {entry.name!r} must be at least 0, not {value}")

    @classmethod
    def flownet2(cls) -> "AugmentationSettings":
        """FlowNet2, LiteFlowNet, PWC-Net in Caffe: chromatic changes, noise of 0 to 0.06, relative motion."""
        return cls(
            zoom=(math.exp(-0.2), math.exp(0.6)),
            squeeze=math.exp(0.3),
            rotation=math.degrees(0.4),
            translation=0.4,
            relative_translation=0.03,
            relative_zoom=0.03,
            relative_rotation=math.degrees(0.03),
            relative_draw="normal",
            chromatic=True,
            own_gamma=(math.exp(-0.035), math.exp(0.035)),
            own_brightness=0.035,
            own_contrast=0.035,
            own_tint=0.035,
            noise=(0.0, 0.06),
        )

    @classmethod
    def chairs(cls) -> "AugmentationSettings":
        """The simpler recipe of mmflow for FlyingChairs and FlyingThings3D."""
        return cls(
            zoom=(1.0, 1.5),
            squeeze=1.16,
            rotation=10.0,
            translation=0.05,
            horizontal_flip=0.5,
            vertical_flip=0.5,
            relative_translation=0.00375,
            relative_zoom=0.015,
            relative_rotation=1.0,
            common_gain=0.5,
            common_contrast=0.5,
            common_saturation=0.5,
            common_hue=0.5,
            common_gamma=(0.7, 1.5),
            noise=(0.0, 0.04),
        )

    @classmethod
    def sintel(cls) -> "AugmentationSettings":
        """As `chairs`, without noise (the final pass has its own)."""
        return dataclasses.replace(cls.chairs(), noise=(0.0, 0.0))

    @classmethod
    def kitti(cls) -> "AugmentationSettings":
        """Weak changes for sparse ground truth of driving scenes."""
        return cls(
            zoom=(0.98, 1.02),
            rotation=0.5,
            translation=0.02,
            horizontal_flip=0.5,
            relative_translation=0.0025,
            relative_zoom=0.01,
            relative_rotation=0.5,
            common_gain=0.05,
            common_contrast=0.2,
            common_saturation=0.25,
            common_hue=0.1,
        )

    @classmethod
    def synthetic(cls) -> "AugmentationSettings":
        """For rendered pairs, which are varied already: flips, zoom in half of the pairs, light and camera noise."""
        return cls(
            spatial=0.5,
            zoom=(0.8, 1.5),
            horizontal_flip=0.5,
            vertical_flip=0.3,
            common_gain=0.3,
            common_brightness=0.1,
            common_contrast=0.3,
            common_gamma=(0.7, 1.4),
            common_tint=0.12,
            own_gain=0.04,
            own_brightness=0.015,
            own_contrast=0.04,
            own_gamma=(0.95, 1.05),
            own_tint=0.015,
            noise=(0.0, 0.03),
        )

    @classmethod
    def rendered(cls) -> "AugmentationSettings":
        """As `synthetic` and more of it, for rendered pairs that are taken many times each."""
        return dataclasses.replace(
            cls.synthetic(),
            spatial=0.8,
            zoom=(0.75, 1.8),
            squeeze=1.15,
            rotation=8.0,
            common_saturation=0.3,
            common_hue=0.05,
            asymmetric=0.15,
            eraser=0.3,
        )
