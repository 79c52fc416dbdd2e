"""The frames that follow: the methods of `flowzoo predict`, and one run of it."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flowzoo.errors import counted
from flowzoo.flow.intermediate import projected, sample
from flowzoo.inference.estimator import Estimator
from flowzoo.inference.frame_outputs import DEFAULT_RATE, FrameOutputs
from flowzoo.inference.interpolation import as_frame, as_tensor
from flowzoo.inference.sequences import FrameSequence
from flowzoo.models.video.svg import StochasticPredictor
from flowzoo.network import PredictionNetwork


class FramePredictor(ABC):
    """One method.

    Attributes:
        context: how many of the last frames it wants.
        title: what it is, for the user.
    """

    context: int = 2
    title: str = ""

    @abstractmethod
    def images(self, frames: Sequence[np.ndarray], steps: int) -> list[Tensor]:
        """The `steps` frames that follow `frames` (HxWx3 uint8): (1,3,H,W) each, in [0,1] up to rounding."""

    def __call__(self, frames: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
        """The same as HxWx3 uint8."""
        return [as_frame(image) for image in self.images(frames, steps)]


@dataclass
class MotionPredictor(FramePredictor):
    """Every point goes on as it moved between the last two frames; needs no weights but the flow's.

    Attributes:
        estimator: gives forward and backward flow.
    """

    estimator: Estimator

    def __post_init__(self) -> None:
        self.title = f"constant motion, found by {self.estimator.network.model_name}"

    def images(self, frames: Sequence[np.ndarray], steps: int) -> list[Tensor]:
        """See `FramePredictor`."""
        found = self.estimator(*frames)
        assert found.backward is not None  # the estimator is made for both directions
        device = self.estimator.network.device
        before, last = (as_tensor(frame, device) for frame in frames)
        flow, backward = (
            torch.from_numpy(field).permute(2, 0, 1)[None].to(device) for field in (found.flow, found.backward)
        )
        with torch.inference_mode():
            motions = [projected(before, last, flow, backward, 1.0 + step) for step in range(1, steps + 1)]
            return [sample(last, -(step + 1) * motion) for step, motion in enumerate(motions)]


class NetworkPredictor(FramePredictor):
    """A network of the zoo that predicts frames; its own output is fed back for further steps.

    Args:
        network: with weights, on its device.
        precision: of the convolutions.
        context: how many of the last frames it gets.
        seed: of the draws of stochastic networks.
    """

    def __init__(self, network: PredictionNetwork, precision: torch.dtype, context: int, seed: int = 0) -> None:
        self.network, self.precision, self.context, self.seed = network, precision, context, seed
        self.title = f"{network.model_name}, {counted(context, 'frame')} of context"

    def images(self, frames: Sequence[np.ndarray], steps: int) -> list[Tensor]:
        """See `FramePredictor`."""
        device = self.network.device
        clip = torch.cat([as_tensor(frame, device) for frame in frames])[None]
        enabled = self.precision != torch.float32
        with torch.inference_mode(), torch.autocast(device.type, self.precision, enabled=enabled):
            if isinstance(self.network, StochasticPredictor):
                generator = torch.Generator(device).manual_seed(self.seed)
                made = self.network.extend(clip, steps, generator=generator)
            else:
                made = self.network.extend(clip, steps)
        return list(made.frames[0].float().split(1))


@dataclass
class PredictionRun:
    """The frames after the end of a clip.

    Attributes:
        method: makes them.
        sequence: the clip, of which the last `method.context` frames are used.
        outputs: what is written; files are named by how far ahead they are.
        steps: how many.
        say: prints one line for the user.
    """

    method: FramePredictor
    sequence: FrameSequence
    outputs: FrameOutputs
    steps: int
    say: Callable[[str], None] = print

    def __call__(self) -> None:
        """Do it."""
        self.outputs.write(self._results(), self.sequence.rate or DEFAULT_RATE, self.steps, self.say)

    def _results(self) -> Iterator[tuple[str, np.ndarray]]:
        held = deque((frame.pixels for frame in self.sequence), maxlen=self.method.context)
        return zip(names_of(self.steps), self.method(list(held), self.steps), strict=True)


def names_of(steps: int) -> Iterator[str]:
    """Names of predicted frames: 1 is the next one."""
    return (f"next_{step:03d}" for step in range(1, steps + 1))
