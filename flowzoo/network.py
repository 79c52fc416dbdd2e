"""What every network of the zoo is: a module that maps two images to flow, or frames to frames."""

import importlib
import os
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from flowzoo.errors import InputError


def _folders(name: str) -> Any:
    """A function of the room that reads and writes weights; like the cards' networks it is named, not imported."""
    return getattr(importlib.import_module("flowzoo.checkpoints.folders"), name)


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


class ZooNetwork(nn.Module):
    """What networks of all tasks have in common.

    Attributes:
        model_name: name in the zoo.
        settings: the frozen dataclass that it was built from.
    """

    model_name: str = ""
    settings: Any = None
    channels_last: bool = True
    """Whether inference on a CPU is faster in channels-last memory layout; measured."""

    def save_pretrained(self, folder: str | os.PathLike[str], **facts: Any) -> None:
        """Write `model.safetensors`, which also holds the settings, and `config.json`, which says them to readers.

        Args:
            folder: is made; such files in it are replaced. Its path, or `hub:owner/name@revision` once it has been
                uploaded, is then what `create` and `--weights` take.
            facts: what both files shall also say (licence, trained_on, ...), in values that JSON knows.

        Raises:
            InputError: the folder cannot be written, or a fact is no plain value.
        """
        _folders("save_folder")(self, folder, **facts)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **settings: Any) -> Self:
        """The network of a folder that `save_pretrained` wrote, in evaluation mode.

        Args:
            source: the folder, a file of weights, or a folder of the Hugging Face hub, `owner/name@revision` (extra:
                hub).
            settings: that differ from those recorded.

        Raises:
            InputError: there is no such folder, it is damaged, or it holds a network of another class.
        """
        network = _folders("load_folder")(source, **settings)
        if not isinstance(network, cls):
            raise InputError(f"{source} holds {network.model_name}, which is no {cls.__name__}")
        return network

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """Buffers that are constants, and so the same on every rank; DistributedDataParallel asks by this name.

        Only the running statistics of norms change.
        """
        norms = [name for name, module in self.named_modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
        return [name for name, _ in self.named_buffers() if name.rpartition(".")[0] not in norms]

    def check_images(self, name: str, images: Tensor, axes: str) -> None:
        """Refuse what the network cannot take.

        Args:
            name: of the argument, for the message.
            images: float RGB in [0,1], of the parameters' type and on their device.
            axes: of `images`, a letter each; 3 = colours, T and the sides are 1 or more, B may be 0.

        Raises:
            InputError: a type, shape or device is not like that; the message says how to convert.
        """
        wanted = f"({','.join(axes)}) float RGB in [0,1]"
        if not isinstance(images, Tensor):
            raise InputError(
                f"{name} must be a tensor {wanted}, got {type(images).__name__} (flowzoo.estimate takes HxWx3 uint8 "
                "arrays)"
            )
        fits = images.dim() == len(axes) and images.shape[-3] == 3 and 0 not in images.shape[1:]
        if not fits:
            raise InputError(f"{name} must be {wanted} with no side of 0, got {tuple(images.shape)}")
        if not images.is_floating_point():
            raise InputError(f"{name} must be float RGB in [0,1], got {images.dtype}: divide uint8 images by 255")
        weight = next(self.parameters())
        if images.device != weight.device:
            raise InputError(f"{name} is on {images.device} but the network on {weight.device}: move one with .to(...)")
        kinds = {images.dtype, weight.dtype}
        cast = torch.is_autocast_enabled(images.device.type) and torch.float64 not in kinds
        if len(kinds) > 1 and not cast:
            raise InputError(
                f"{name} is {images.dtype} but the network's weights are {weight.dtype}: convert it by "
                f"{name}.to({weight.dtype}), or the network by network.to({images.dtype})"
            )


class FlowNetwork(ZooNetwork):
    """Base of all flow networks. A network defines `predict`; `forward` checks the input once for all of them."""

    same_size: bool = True
    """Whether both images must have one size (geometric matching networks take two)."""
    multiple: int = 64
    """The network resizes its input to multiples of this."""
    tileable: bool = True
    """Whether a tile of the images gives that tile of the flow (not for networks that see a fixed-size image)."""
    bytes_per_pixel: int = 1000
    """Peak activation memory of inference for a pair, by pixels of one image, float32; follows from the settings and is
    measured (tools/check_memory.py)."""
    fixed_bytes: int = 0
    """What it needs whatever the size (networks that look at images of one size of their own)."""
    bytes_per_pixel_in_strips: int | None = None
    """What of this stays beyond the pixels of one strip where its parts run in strips (`flowzoo.blocks.strips`); None =
    they cannot."""
    pixels_of_strip: int = 1 << 20
    """Pixels of an image that a strip of the largest maps covers, with the rows around it."""
    lowered_bytes_per_pixel: int | None = None
    """As `bytes_per_pixel` where convolutions run in bfloat16 on a CPU; None = as in float32. Maps take half there,
    flow and what decides matches do not."""
    lowered_bytes_per_pixel_in_strips: int | None = None
    any_size_once_traced: bool = True
    """Whether a traced program serves other sizes than the one it was traced with. Not where the passes themselves
    depend on the size: such a program would be wrong by many pixels, without a word."""
    exported_settings: ClassVar[dict[str, tuple[Any, str]]] = {}
    """Settings that an exported program has in place of the network's own, each with what that means to the user, or
    an empty text where the flow is the same."""
    takes_start: bool = False
    """Whether `predict` takes a third argument `start`, a flow like its `details["coarse_flow"]`."""

    def peak_bytes(self, pixels: int, *, lowered: bool = False, strips: bool = False) -> int:
        """Peak activation memory of inference for a pair, beside the pair itself.

        Args:
            pixels: of one image, whose sides are multiples of the network's stride.
            lowered: convolutions run in bfloat16 on a CPU.
            strips: in strips of rows; whole where the network cannot.
        """
        whole, in_strips = self._bytes_per_pixel(lowered, strips)
        return self.fixed_bytes + in_strips * pixels + (whole - in_strips) * min(pixels, self.pixels_of_strip)

    def pixels_within(self, number: float, *, lowered: bool = False, strips: bool = False) -> int:
        """How many pixels an image may have that `peak_bytes` gives `number` bytes for, at least 0."""
        whole, in_strips = self._bytes_per_pixel(lowered, strips)
        number = max(0.0, number - self.fixed_bytes)
        return int(max(number / whole, (number - (whole - in_strips) * self.pixels_of_strip) / in_strips))

    def _bytes_per_pixel(self, lowered: bool, strips: bool) -> tuple[int, int]:
        """Of a strip, and of what is beyond it."""
        whole, in_strips = self.bytes_per_pixel, self.bytes_per_pixel_in_strips
        if lowered:
            whole = self.lowered_bytes_per_pixel or whole
            in_strips = self.lowered_bytes_per_pixel_in_strips or in_strips
        return whole, whole if in_strips is None or not strips else min(whole, in_strips)

    def forward(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """Flow from `first` to `second`.

        Args:
            first: (B,3,H,W) float RGB in [0,1], any size from 1x1 up and any batch from 0 up.
            second: likewise, of the same size unless the network takes two sizes.

        Raises:
            InputError: a shape or type is not like that.
        """
        self._check(first, second)
        self._refuse_tracing()
        if first.shape[0] == 0:
            return FlowPrediction(flow=first.new_zeros((0, 2, *first.shape[2:])))
        return self.predict(first, second)

    def from_start(self, first: Tensor, second: Tensor, start: Tensor) -> FlowPrediction:
        """As `forward`, from another flow than zero; for networks with `takes_start`, and a batch of 1 or more.

        Args:
            first, second: as for `forward`.
            start: (B,2,h,w) on the grid and in the pixels of `details["coarse_flow"]`.

        Raises:
            InputError: as `forward`, or the network takes no start, or `start` has another size.
        """
        if not self.takes_start:
            raise InputError(f"{self.model_name} cannot start from a flow")
        self._check(first, second)
        return self.predict(first, second, start)  # type: ignore[call-arg]

    def _check(self, first: Tensor, second: Tensor) -> None:
        for name, images in (("first", first), ("second", second)):
            self.check_images(name, images, "B3HW")
        same = first.shape == second.shape if self.same_size else first.shape[0] == second.shape[0]
        if not same:
            raise InputError(f"first is {tuple(first.shape)} but second is {tuple(second.shape)}: give equal shapes")

    def _refuse_tracing(self) -> None:
        # Dynamo and torch.export guard the sizes; only jit traces run at others and are silently wrong.
        compiling = torch.compiler.is_compiling()
        if not self.any_size_once_traced and not compiling and torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            raise InputError(
                f"{self.model_name or type(self).__name__} cannot be traced: the trace would be wrong at any other "
                "size; use flowzoo export, whose files refuse other sizes"
            )

    def predict(self, first: Tensor, second: Tensor) -> FlowPrediction:
        """What `forward` does for checked input of batch 1 or more."""
        raise TypeError(f"{type(self).__name__} does not define predict")


@dataclass
class VideoPrediction:
    """What a network that makes frames from frames returns, always.

    Attributes:
        frames: (B,T',3,H',W') float RGB; inference clamps to [0,1], training does not.
        details: what a family's own loss or a diagnostic needs, by name ("offsets", "flows", "mean", ...).
    """

    frames: Tensor
    details: dict[str, Any] = field(default_factory=dict)


class VideoNetwork(ZooNetwork):
    """Base of all networks that make frames from frames: super-resolution, prediction, interpolation.

    A network defines `predict`; `forward` checks the input once for all of them.
    """

    frames_in: int | None = None
    """How many frames it takes at a time; None = any number from 1 up."""
    scale: int = 1
    """Size of its frames over that of the input's."""
    multiple: int = 1
    """The network pads frames to multiples of this."""
    enlarged_input: bool = False
    """Whether frames go in at the size of the result (for super-resolution: enlarged bicubically before)."""
    temporal_border: Literal["replicate", "reflection", "reflection_circle", "circle"] = "reflection_circle"
    """Which frames stand for those before the first and behind the last of a clip, as published for the network."""
    bytes_per_pixel: int = 4000
    """Peak memory of inference by pixels of one frame of the input, for one window, or for each frame of a clip where
    any number is taken; float32, measured."""
    inspected: bool = False
    """Whether `details` are wanted outside training, too, where they would only take memory."""

    @property
    def keeps_details(self) -> bool:
        """Whether a prediction carries what losses and diagnostics need."""
        return self.training or self.inspected

    def forward(self, frames: Tensor) -> VideoPrediction:
        """New frames from (B,T,3,H,W) float RGB in [0,1].

        Raises:
            InputError: a shape or type is not like that, or T is not what the network takes.
        """
        self.check_images("frames", frames, "BT3HW")
        if self.frames_in is not None and frames.shape[1] != self.frames_in:
            raise InputError(f"{self.model_name} takes {self.frames_in} frames at a time, got {frames.shape[1]}")
        return self.predict(frames)

    def predict(self, frames: Tensor) -> VideoPrediction:
        """What `forward` does for checked input."""
        raise TypeError(f"{type(self).__name__} does not define predict")


class PredictionNetwork(VideoNetwork):
    """Base of networks that predict the frames that follow. `forward` gives the next one.

    A network defines `extend`.
    """

    def extend(self, frames: Tensor, steps: int) -> VideoPrediction:
        """The `steps` frames that follow `frames` (B,T,3,H,W): (B,steps,3,H,W)."""
        raise TypeError(f"{type(self).__name__} does not define extend")

    def predict(self, frames: Tensor) -> VideoPrediction:
        """The next frame, (B,1,3,H,W)."""
        return self.extend(frames, 1)
