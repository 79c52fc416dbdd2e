"""What every network of the zoo is: a module that maps two images to a `FlowPrediction`."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class FlowPrediction:
    """What a network returns, always.

    Attributes:
        flow: (B,2,H,W), x then y, pixels of the input image; first(p) is found at second(p + flow).
        pyramid: flows for training losses, coarse to fine, each (B,2,h,w) at its own level's size and in pixels of
            the *input image* (not of the level); a family that supervises several flows a level lists each of them.
        confidence: (B,1,H,W) in 0..1, or None where the network has no such output.
        occlusion: (B,1,H,W) in 0..1, 1 = occluded, or None.
        details: what a family's own loss or a diagnostic needs, by name (HD3: "logits"); empty otherwise.
    """

    flow: Tensor
    pyramid: list[Tensor] = field(default_factory=list)
    confidence: Tensor | None = None
    occlusion: Tensor | None = None
    details: dict[str, Any] = field(default_factory=dict)


class FlowNetwork(nn.Module):
    """Base of all networks. `settings` is the frozen dataclass it was built from; `model_name` its name in the zoo.

    `forward(first, second)` takes (B,3,H,W) float RGB in [0,1] of any size from 1x1 up and any batch from 0 up.
    """

    model_name: str = ""
    settings: Any = None

    def forward(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """Flow from `first` to `second`; see the class."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device
