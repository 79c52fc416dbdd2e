"""One training pair, the thing that data sets yield and augmentation changes."""

from dataclasses import dataclass

from torch import Tensor

from flowzoo.augmentation.batch import Tensors


@dataclass
class TrainingSample(Tensors):
    """A pair of frames with ground truth.

    Attributes:
        first, second: (3, H, W) RGB; uint8, uint16 (0 to 65535), or float32 in 0..1.
        flow: (2, H, W) float32, x then y, pixels of the frames; anything where not valid.
        valid: (H, W) bool.
        sparse: valid is scattered (laser points): neighbours of a valid pixel may carry no flow.
        labels: (3, H, W) float32, a teacher's flow and 1 where it counts, or None; see `flowzoo distill`.
        reverse: (3, H, W) float32, the flow from `second` to `first` and 1 where it is known, or None.
    """

    first: Tensor
    second: Tensor
    flow: Tensor
    valid: Tensor
    sparse: bool = False
    labels: Tensor | None = None
    reverse: Tensor | None = None
