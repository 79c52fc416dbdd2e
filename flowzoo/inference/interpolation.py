"""Frames in between: the methods of `flowzoo interpolate`.

A method takes a window of frames, oldest first, and makes frames between the middle two.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flowzoo.errors import InputError, counted
from flowzoo.flow.intermediate import between, half_flow
from flowzoo.inference.estimator import Estimator
from flowzoo.losses.correspondence import CorrespondenceLoss
from flowzoo.models.video.flavr import Flavr

METHODS = ("splat", "half-flow", "average", "flavr")


class Interpolator(ABC):
    """One method.

    Attributes:
        window: frames that it reads at a time: 2, or 4 (one more on either side).
        title: what it is, for the user.
    """

    window: int = 2
    title: str = ""

    @abstractmethod
    def images(self, frames: Sequence[np.ndarray], times: Sequence[float]) -> list[Tensor]:
        """Frames at `times` (each above 0 and below 1) between the middle two of `window` frames (HxWx3 uint8):
        (1,3,H,W) each, in [0,1] up to rounding."""

    def __call__(self, frames: Sequence[np.ndarray], times: Sequence[float]) -> list[np.ndarray]:
        """The same as HxWx3 uint8."""
        return [as_frame(image) for image in self.images(frames, times)]


@dataclass
class FlowInterpolator(Interpolator):
    """Both frames warped to the moment in between by flow in both directions.

    Attributes:
        estimator: gives forward and backward flow.
        plain: only halve the flow ("half-flow"), instead of choosing among motion fields by agreement ("splat").
    """

    estimator: Estimator
    plain: bool = False

    def __post_init__(self) -> None:
        if not self.estimator.backward:
            raise InputError("interpolation needs flow in both directions: Estimator(..., backward=True)")
        self.title = f"{'half-flow' if self.plain else 'splat'} with {self.estimator.network.model_name}"

    def images(self, frames: Sequence[np.ndarray], times: Sequence[float]) -> list[Tensor]:
        """See `Interpolator`."""
        found = self.estimator(*frames)
        assert found.backward is not None  # checked at the start
        device = self.estimator.network.device
        first, second = (as_tensor(frame, device) for frame in frames)
        flow, backward = (
            torch.from_numpy(field).permute(2, 0, 1)[None].to(device) for field in (found.flow, found.backward)
        )
        method = half_flow if self.plain else between
        with torch.inference_mode():
            return [method(first, second, flow, backward, time) for time in times]


@dataclass
class AverageInterpolator(Interpolator):
    """The correspondence-wise average of the two frames ("Comparing Correspondences", section 3.3 and appendix A6).

    The image with the least mean correspondence-wise L1 loss to both frames, found by Adam from their arithmetic mean.
    The paper leaves start, optimiser and steps open.

    Attributes:
        estimator: its network finds correspondences between the image so far and the frames.
        steps, learning_rate: of Adam.
        refresh: steps between new estimates of the correspondences.
    """

    estimator: Estimator
    steps: int = 20
    learning_rate: float = 0.02
    refresh: int = 5

    def __post_init__(self) -> None:
        self.title = (
            f"correspondence-wise average with {self.estimator.network.model_name}, {counted(self.steps, 'step')}"
        )

    def images(self, frames: Sequence[np.ndarray], times: Sequence[float]) -> list[Tensor]:
        """See `Interpolator`.

        Raises:
            InputError: a moment other than the middle.
        """
        if list(times) != [0.5]:
            raise InputError("the correspondence-wise average has no moment of its own: use it with --factor 2")
        device = self.estimator.network.device
        return [self.average([as_tensor(frame, device) for frame in frames])]

    def average(self, frames: Sequence[Tensor]) -> Tensor:
        """(1,3,H,W) each, in [0,1] -> the average."""
        targets = [frame * 2 - 1 for frame in frames]
        image = torch.stack(targets).mean(dim=0).requires_grad_()
        loss = CorrespondenceLoss("l1", scaling=0.1)
        optimizer = torch.optim.Adam([image], lr=self.learning_rate)
        flows: list[tuple[Tensor, Tensor]] = []
        for step in range(self.steps):
            if step % self.refresh == 0:
                flows = [self._flows(target, image.detach().clamp(-1, 1)) for target in targets]
            optimizer.zero_grad()
            pairs = zip(targets, flows, strict=True)
            with torch.enable_grad():
                torch.stack([loss(image, target, pair) for target, pair in pairs]).mean().backward()
            optimizer.step()
        return (image.detach() + 1) / 2

    def _flows(self, target: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Target to image, and image to target."""
        pair = [(entry + 1) / 2 for entry in (target, image)]
        return self.estimator.predict(*pair).flow, self.estimator.predict(*reversed(pair)).flow


class FlavrInterpolator(Interpolator):
    """FLAVR: no flow; makes as many frames at once as its weights were trained for.

    Args:
        network: with weights, on its device.
        precision: of the convolutions.
        factor: how many times the rate grows.

    Raises:
        InputError: `factor` is not what the network makes.
    """

    def __init__(self, network: Flavr, precision: torch.dtype, factor: int) -> None:
        made = network.settings.outputs
        if factor != made + 1:
            raise InputError(
                f"these weights make {made} frame{'s' * (made > 1)} in between: use --factor {made + 1}, or other "
                "weights (--set outputs=1, 3 or 7)"
            )
        self.network, self.precision = network, precision
        self.window = network.settings.inputs
        self.title = f"flavr, {counted(self.window, 'frame')} in"

    def images(self, frames: Sequence[np.ndarray], times: Sequence[float]) -> list[Tensor]:
        """See `Interpolator`."""
        device = self.network.device
        clip = torch.cat([as_tensor(frame, device) for frame in frames])[None]
        enabled = self.precision != torch.float32
        with torch.inference_mode(), torch.autocast(device.type, self.precision, enabled=enabled):
            made = self.network(clip).frames[0]
        return list(made.float().split(1))


def moments(factor: int) -> list[float]:
    """The moments between two frames that make the rate `factor` times as high."""
    return [step / factor for step in range(1, factor)]


def as_tensor(frame: np.ndarray, device: torch.device) -> Tensor:
    """HxWx3 uint8 -> (1,3,H,W) in [0,1]."""
    return torch.from_numpy(np.require(frame, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None].float() / 255


def as_frame(image: Tensor) -> np.ndarray:
    """(1,3,H,W) in [0,1] -> HxWx3 uint8."""
    return (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
