"""The loss of networks that refine one flow in iterations (RAFT, section 3.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowzoo.errors import InputError
from flowzoo.losses.targets import known_pixels
from flowzoo.network import FlowPrediction


@dataclass(frozen=True)
class SequenceLoss:
    """sum_k gamma^(n-k) mean |f_k - truth| over the n flows of a prediction's pyramid, all of the images' size.

    The mean is over all pixels and both components; a pixel that is not known, or whose true flow is as long as
    `largest` pixels, counts as 0 in it.

    Attributes:
        gamma: weight of a flow against that of the next iteration; above 0, at most 1.
        largest: pixels.
    """

    gamma: float = 0.8
    largest: float = 400.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1 or not self.largest > 0:
            raise InputError(
                f"the sequence loss needs gamma above 0 up to 1 and a positive largest flow, "
                f"not {self.gamma} and {self.largest}"
            )

    def __call__(self, prediction: FlowPrediction, flow: Tensor, valid: Tensor | None = None) -> Tensor:
        """The loss, a number.

        Args:
            prediction: whose `pyramid` holds the iterations' flows (of a network in training).
            flow: true flow (B,2,H,W) in pixels; NaN and infinity count as unknown.
            valid: (B,H,W) or (B,1,H,W), above 0 where `flow` is known; None: wherever it is finite.

        Raises:
            InputError: a flow of the pyramid has another size than the true one.
        """
        truth, known = known_pixels(flow.float(), valid)
        known = known * (torch.linalg.vector_norm(truth, dim=1, keepdim=True) < self.largest)
        total = truth.new_zeros(())
        for after, estimate in enumerate(reversed(prediction.pyramid)):
            if estimate.shape != truth.shape:
                raise InputError(
                    f"the sequence loss takes flows of the images' size, {tuple(truth.shape)}, but the network gives "
                    f"{tuple(estimate.shape)}: use loss charbonnier or robust-l1"
                )
            total = total + self.gamma**after * (known * (estimate.float() - truth).abs()).mean()
        return total
