"""Correspondence-wise losses: compare pixels that match instead of pixels at the same place.

Geng, Hamilton, Owens: "Comparing Correspondences: Video Prediction with Correspondence-wise Losses", CVPR 2022,
section 3, algorithm 1. Images are compared after each was warped to the other by a flow network; shrinking the flow by
1 - scaling (section 3.2) keeps a pull towards the right place.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowzoo.errors import InputError
from flowzoo.flow.fits import FITS, FlowModel, fitted_flow
from flowzoo.losses.flow_magnitude import MagnitudePenalty
from flowzoo.losses.image import ImageLoss, image_loss
from flowzoo.network import FlowNetwork, FlowPrediction
from flowzoo.settings import suggestion

Padding = Literal["reflection", "border", "zeros"]
Flows = tuple[Tensor, Tensor]


class CorrespondenceLoss(nn.Module):
    """base(warp(prediction, F1), target) + base(warp(target, F2), prediction), F1 and F2 scaled by 1 - scaling.

    F1 leads from the target to the prediction and F2 back, both found by `flow`. A sum, not a mean; all pixels count.

    Args:
        base: "l1", "l2", or any callable of two image batches; the warped image is its first argument.
        flow: a flow network of the zoo, or any callable of two image batches that returns (B,2,H,W) in pixels; None
            where every call brings its `flows`. Its weights are not trained.
        scaling: the paper's epsilon; 0 = flow as it is, 1 = 2 * base(prediction, target).
        symmetric: both terms; else the one in which `warped` is warped.
        padding: what is read outside an image; "reflection" is about the outermost pixels' centres.
        magnitude: penalty on the flow (equation 3), or None.
        detach: keep gradients out of the flow: the loss then moves colours, not correspondences. None = yes without
            `magnitude`, no with it.
        flow_model: "dense" as found, or an affine map or homography fitted to it (Table 5).
        image_range: values of black and white. Networks of the zoo get images mapped to [0,1]; other callables get
            them as they are.
        network_mode: "eval", or "train" as the authors ran RAFT: its BatchNorm then uses (and drifts with) the
            statistics of each batch.
        warped: the image that is warped in the one-sided form.

    Raises:
        InputError: options that are unknown or contradict each other.
    """

    def __init__(
        self,
        base: str | ImageLoss,
        flow: FlowNetwork | Callable[[Tensor, Tensor], Tensor] | None = None,
        scaling: float = 0.1,
        symmetric: bool = True,
        padding: Padding = "reflection",
        *,
        magnitude: MagnitudePenalty | None = None,
        detach: bool | None = None,
        flow_model: FlowModel = "dense",
        image_range: tuple[float, float] = (-1.0, 1.0),
        network_mode: Literal["eval", "train"] = "eval",
        warped: Literal["prediction", "target"] = "prediction",
    ) -> None:
        super().__init__()
        if not 0 <= scaling <= 1:
            raise InputError(f"scaling must be from 0 (flow as it is) to 1 (no flow), got {scaling}")
        for name, value, known in (
            ("padding", padding, ("reflection", "border", "zeros")),
            ("flow_model", flow_model, ("dense", *FITS)),
            ("network_mode", network_mode, ("eval", "train")),
            ("warped", warped, ("prediction", "target")),
        ):
            if value not in known:
                raise InputError(f"{name} cannot be {value!r}: {suggestion(str(value), known)}")
        if not image_range[0] < image_range[1]:
            raise InputError(f"image_range must be (black, white) with black < white, got {image_range}")
        if magnitude is not None and detach:
            raise InputError("a penalty on the flow's magnitude needs gradients of the flow: leave out detach=True")
        self.base = image_loss(base)
        self.flow = flow
        if isinstance(flow, nn.Module):
            flow.requires_grad_(False)
        self.scaling, self.symmetric, self.padding, self.magnitude = scaling, symmetric, padding, magnitude
        self.detach = magnitude is None if detach is None else detach
        self.flow_model, self.image_range = flow_model, image_range
        self.network_mode, self.warped = network_mode, warped

    def forward(self, prediction: Tensor, target: Tensor, flows: Flows | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            prediction, target: (B,3,H,W) within `image_range`.
            flows: target to prediction, and prediction to target, each (B,2,H,W) in pixels: used instead of a network.

        Raises:
            InputError: shapes that differ, no flow network and no flows, or a target beyond `image_range`.
        """
        return torch.stack(list(self.terms(prediction, target, flows).values())).sum()

    def terms(self, prediction: Tensor, target: Tensor, flows: Flows | None = None) -> dict[str, Tensor]:
        """What `forward` adds up, by name: "prediction_warped", "target_warped", "magnitude", "smooth", "leaving"."""
        self._check(prediction, target, flows)
        sides = ("prediction", "target") if self.symmetric else (self.warped,)
        terms: dict[str, Tensor] = {}
        for side in sides:
            moved, reference = (prediction, target) if side == "prediction" else (target, prediction)
            given = None if flows is None else flows[0 if side == "prediction" else 1]
            flow = self._flow(reference, moved, given)
            warped = warp_image(moved, (1 - self.scaling) * flow, self.padding)
            terms[f"{side}_warped"] = self.base(warped, reference)
            if self.magnitude is not None:
                for name, term in self.magnitude(flow, self._signed(reference)).items():
                    terms[name] = terms.get(name, term.new_zeros(())) + term
        return terms

    def _check(self, prediction: Tensor, target: Tensor, flows: Flows | None) -> None:
        if prediction.dim() != 4 or prediction.shape != target.shape:
            raise InputError(
                f"prediction and target must both be (B,3,H,W), got {tuple(prediction.shape)} and {tuple(target.shape)}"
            )
        wanted = (prediction.shape[0], 2, *prediction.shape[2:])
        for flow in flows or ():
            if flow.shape != wanted:
                raise InputError(f"flows must be {wanted} each, got {tuple(flow.shape)}")
        if flows is None and self.flow is None:
            raise InputError("no flow network: give CorrespondenceLoss one (flow=...), or give flows to each call")

    def _flow(self, reference: Tensor, moved: Tensor, given: Tensor | None) -> Tensor:
        """(B,2,H,W) from `reference` to `moved`, of the images' type, not scaled yet."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach):
            flow = self._estimate(reference, moved) if given is None else given
            flow = flow.to(moved.dtype)
            if self.flow_model != "dense":
                flow = fitted_flow(flow, self.flow_model)
        return flow.detach() if self.detach else flow

    def _signed(self, images: Tensor) -> Tensor:
        """`images` in [-1,1]."""
        low, high = self.image_range
        return images if (low, high) == (-1, 1) else (images - low) * (2 / (high - low)) - 1

    def _estimate(self, reference: Tensor, moved: Tensor) -> Tensor:
        assert self.flow is not None  # checked before
        if not isinstance(self.flow, FlowNetwork):
            return self.flow(reference, moved)
        low, high = self.image_range
        kind = next(self.flow.parameters()).dtype
        pair = [((images - low) / (high - low)).to(kind) for images in (reference, moved)]
        with _in_mode(self.flow, training=self.network_mode == "train"):
            prediction: FlowPrediction = self.flow(*pair)
        return prediction.flow


def warp_image(images: Tensor, flow: Tensor, padding: Padding = "reflection") -> Tensor:
    """`images` (B,C,H,W) read bilinearly at p + flow(p), differentiable in both.

    Args:
        flow: (B,2,H,W) in pixels.
        padding: outside the image: "reflection" about the outermost pixels' centres, as often as needed, "border", or
            "zeros".
    """
    height, width = images.shape[-2:]
    x = flow[:, 0] + torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = flow[:, 1] + torch.arange(height, device=flow.device, dtype=flow.dtype).view(-1, 1)
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=True)


@contextmanager
def _in_mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """All parts of the network in training or evaluation mode, and back in their own afterwards.

    Also those that the network's own `train` would keep in evaluation, as RAFT's frozen batch norms.
    """
    before = [(part, part.training) for part in network.modules()]
    for part, _ in before:
        part.training = training
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode
