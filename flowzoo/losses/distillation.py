"""Knowledge distillation: a fine-tuned network keeps what its teacher knew where there is no ground truth.

Hofinger et al.: "Improving Optical Flow on a Pyramid Level", ECCV 2020, section 3.4. Which of the teacher's vectors are
trusted follows the checks that the paper names (consistency, confidence, photometric); their formulas and thresholds
here are ours.
"""

from dataclasses import dataclass

from torch import Tensor

from flowzoo.flow.forward_backward import occlusion
from flowzoo.operators import warp


@dataclass(frozen=True)
class Trust:
    """When a teacher's vector is kept.

    Attributes:
        relative, absolute: of the forward-backward check, see `flowzoo.flow.forward_backward.occlusion`.
        confidence: least confidence in 0..1, for teachers that give one.
        photometric: largest mean absolute colour difference, colours in 0..1, between a pixel and where it goes.
    """

    relative: float = 0.01
    absolute: float = 0.5
    confidence: float = 0.3
    photometric: float = 0.1


def trusted(
    flow: Tensor,
    backward: Tensor,
    first: Tensor,
    second: Tensor,
    confidence: Tensor | None = None,
    trust: Trust | None = None,
) -> Tensor:
    """Where a teacher's flow may stand for ground truth.

    Args:
        flow, backward: (B,2,H,W) in pixels, from first to second and back.
        first, second: images (B,3,H,W) in 0..1.
        confidence: (B,1,H,W) in 0..1, or None.

    Returns:
        (B,H,W) bool: the flow stays in the image, the backward flow leads back, the colours agree, and the teacher
        was confident.
    """
    trust = trust or Trust()
    kept = ~occlusion(flow, backward, trust.relative, trust.absolute)
    kept &= (first - warp(second, flow)).abs().mean(dim=1) <= trust.photometric
    if confidence is not None:
        kept &= confidence[:, 0] >= trust.confidence
    return kept


def distilled(supervised: Tensor, distillation: Tensor, weight: float = 0.9) -> Tensor:
    """Equation 7: weight * supervised + (1 - weight) * distillation.

    Both are numbers: the first against ground truth, the second against the teacher's flow, each a mean over its own
    valid pixels, the second without max-pooling.
    """
    return weight * supervised + (1 - weight) * distillation
