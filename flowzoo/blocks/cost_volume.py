"""Align and measure: the cost volume of one pyramid level, with interchangeable ways to build it."""

from typing import Literal

from torch import Tensor, nn

from flowzoo.blocks.alignment import warp_features
from flowzoo.operators import correlation, sampled_cost_volume

CostVolumeKind = Literal["warp", "sample", "sample-sad", "gocor"]


class CostVolume(nn.Module):
    """(2r+1)^2 costs a pixel between the first image's features and the second's around x + flow(x).

    Args:
        kind: "warp": correlation with warped features, equation 1 of "Improving Optical Flow on a Pyramid Level";
            "sample" and "sample-sad": the second features are read at x + flow(x) + d, equations 2 and 3;
            "gocor": GOCor's optimised filter map applied to warped features.
        channels: channels of the features (GOCor has parameters).
        radius: search radius in steps.
        step: pixels between displacements; costs are then taken at every `step`-th pixel only.
        mask_threshold: see `warp_features`.
        gocor_iterations: of GOCor's optimiser, in evaluation and in training.
    """

    def __init__(
        self,
        kind: CostVolumeKind,
        channels: int,
        radius: int,
        *,
        step: int = 1,
        mask_threshold: float | None = None,
        gocor_iterations: tuple[int, int] = (3, 3),
    ) -> None:
        super().__init__()
        self.kind, self.radius, self.step, self.mask_threshold = kind, radius, step, mask_threshold
        self.outputs = (2 * radius + 1) ** 2
        if kind == "gocor":
            from flowzoo.blocks.gocor import LocalGOCor

            evaluation, training = gocor_iterations
            self.matcher = LocalGOCor(radius, iterations=evaluation, training_iterations=training)

    @property
    def aligns(self) -> bool:
        """Whether the volume is a function of the first features and the *aligned* second ones alone."""
        return self.kind == "warp"

    def align(self, second: Tensor, flow: Tensor | None) -> Tensor:
        """The second image's features as the volume sees them; the input itself at a level without flow."""
        return second if flow is None else warp_features(second, flow, self.mask_threshold)

    def forward(self, first: Tensor, second: Tensor, flow: Tensor | None = None) -> Tensor:
        """(B,C,H,W) twice and flow (B,2,H,W) in pixels of this level -> (B,(2r+1)^2,ceil(H/step),ceil(W/step)).

        `flow` is None at the coarsest level: no displacement.
        """
        if self.kind in ("sample", "sample-sad"):
            measure: Literal["correlation", "sad"] = "sad" if self.kind == "sample-sad" else "correlation"
            if flow is None:
                flow = first.new_zeros((first.shape[0], 2, *first.shape[2:]))
            return sampled_cost_volume(first, second, flow, self.radius, self.step, self.step, measure)
        second = self.align(second, flow)
        if self.kind == "gocor":
            # The sparse volume is a dense one of the subsampled maps.
            scores: Tensor = self.matcher(
                first[..., :: self.step, :: self.step], second[..., :: self.step, :: self.step]
            )
            return scores
        return correlation(first, second, self.radius, self.step, self.step)
