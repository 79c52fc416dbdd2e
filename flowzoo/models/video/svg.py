"""Stochastic video generation with a learned prior: SVG-LP, and SVG' whose codes are maps.

Denton, Fergus, ICML 2018, section 3; Villegas et al., NeurIPS 2019; SVG++ of "Comparing Correspondences" is SVG' with
more channels. At every step the last frame's code and a latent drawn from the prior (in training: from the posterior,
which sees the frame that comes) give the next frame's code; the decoder also reads maps of a context frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowzoo.blocks.frame_codecs import DcganDecoder, DcganEncoder, VggDecoder, VggEncoder, mirrored_stages, vgg_stages
from flowzoo.blocks.stochastic_recurrence import CodePredictor, GaussianRecurrence, State, divergence, sample
from flowzoo.errors import InputError
from flowzoo.network import PredictionNetwork, VideoPrediction

if TYPE_CHECKING:
    from flowzoo.zoo.svg import SVGPrimeSettings, SVGSettings


@dataclass
class Memory:
    """States of the recurrent parts, and the context maps that the decoder reads."""

    predictor: State | None = None
    posterior: State | None = None
    prior: State | None = None
    skips: list[Tensor] | None = None
    skips_from: int = -1


@dataclass
class TrainingPass:
    """What the training objective is made of, step by step: step i predicts frame i + 1 (from 0).

    Attributes:
        frames: predicted frames, (B,T-1,3,H,W).
        divergence: sum over steps of KL(posterior || prior).
        details: "h", "z", "mean", "log_variance", "mean_prior", "log_variance_prior" (lists), "skips_from" (frame
            numbers).
    """

    frames: Tensor
    divergence: Tensor
    details: dict[str, list[Tensor] | list[int]]


class StochasticPredictor(PredictionNetwork):
    """What SVG-LP and SVG' share: everything but the sizes of their parts."""

    encoder: nn.Module
    decoder: nn.Module
    frame_predictor: CodePredictor
    posterior: GaussianRecurrence
    prior: GaussianRecurrence
    settings: "SVGSettings | SVGPrimeSettings"

    def extend(
        self,
        frames: Tensor,
        steps: int,
        *,
        noise: Sequence[Tensor] | None = None,
        posterior_noise: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> VideoPrediction:
        """`steps` frames that follow `frames` (B,T,3,H,W); one draw of the prior.

        Args:
            noise: of the prior at each step that makes a frame, (B,Z,...) each; drawn from `generator` otherwise.
            posterior_noise: of the posterior at each of the T - 1 context steps; likewise.
        """
        self._check(frames)
        past, memory = frames.shape[1], Memory()
        made: list[Tensor] = []
        with _batch_statistics(self, wanted=self.settings.batch_statistics and not self.training):
            for step in range(1, past + steps):
                shown = frames[:, step - 1].contiguous() if step <= past else made[-1]
                code, skips = self.encoder(shown)
                self._remember(memory, skips, step, past)
                mean, log_variance, memory.prior = self.prior(code, memory.prior)
                if step < past:
                    target, _ = self.encoder(frames[:, step].contiguous())
                    mean, log_variance, memory.posterior = self.posterior(target, memory.posterior)
                given = posterior_noise if step < past else noise
                drawn = _draw(mean, generator) if given is None else given[step - 1 if step < past else step - past]
                latent = sample(mean, log_variance, drawn)
                predicted, memory.predictor = self.frame_predictor(torch.cat([code, latent], dim=1), memory.predictor)
                if step >= past:
                    made.append(self.decoder(predicted, memory.skips))
        return VideoPrediction(torch.stack(made, dim=1))

    def training_pass(self, frames: Tensor, past: int, noise: Sequence[Tensor] | None = None) -> TrainingPass:
        """Predict each of `frames` (B,T,3,H,W) but the first from those before it, with the posterior's latents.

        The objective is sum_i base(prediction_i, frame_i) + beta * divergence. Each frame is encoded once.

        Args:
            past: number of context frames; the decoder's maps come from the last but one of them.
            noise: of the posterior, (B,Z,...) for each of the T - 1 steps; drawn otherwise.
        """
        self._check(frames)
        encoded = [self.encoder(frame.contiguous()) for frame in frames.unbind(dim=1)]
        memory, made, total = Memory(), [], frames.new_zeros(())
        details: dict[str, list[Tensor] | list[int]] = {}
        for step in range(1, frames.shape[1]):
            code, skips = encoded[step - 1]
            self._remember(memory, skips, step, past)
            mean, log_variance, memory.posterior = self.posterior(encoded[step][0], memory.posterior)
            latent = sample(mean, log_variance, _draw(mean, None) if noise is None else noise[step - 1])
            prior_mean, prior_log_variance, memory.prior = self.prior(code, memory.prior)
            predicted, memory.predictor = self.frame_predictor(torch.cat([code, latent], dim=1), memory.predictor)
            made.append(self.decoder(predicted, memory.skips))
            total = total + divergence(mean, log_variance, prior_mean, prior_log_variance)
            found = {"h": code, "z": latent, "mean": mean, "log_variance": log_variance, "mean_prior": prior_mean}
            found |= {"log_variance_prior": prior_log_variance}
            for name, value in found.items():
                details.setdefault(name, []).append(value)
            details.setdefault("skips_from", []).append(memory.skips_from)  # type: ignore[arg-type]
        return TrainingPass(torch.stack(made, dim=1), total, details)

    def _remember(self, memory: Memory, skips: list[Tensor], step: int, past: int) -> None:
        """Published: the decoder reads maps of frame past - 2, not of the last context frame; with one context frame,
        of that one."""
        if step < past or self.settings.last_frame_skip or memory.skips is None:
            memory.skips, memory.skips_from = skips, step - 1

    def _check(self, frames: Tensor) -> None:
        """Raises InputError for a size that the network does not take."""


class SVG(StochasticPredictor):
    """SVG-LP: codes are vectors; frames are square, 64 or 128 pixels a side."""

    settings: "SVGSettings"

    def __init__(self, settings: "SVGSettings") -> None:
        super().__init__()
        code, latent, hidden = settings.code, settings.latent, settings.recurrent
        if settings.architecture == "dcgan":
            channels = (64, 128, 256, 512) if settings.size == 64 else (64, 128, 256, 512, 512)
            self.encoder = DcganEncoder(channels, code)
            self.decoder = DcganDecoder(channels, code)
        else:
            stages = vgg_stages(settings.size)
            self.encoder = VggEncoder(stages, code, whole=True)
            self.decoder = VggDecoder(mirrored_stages(stages), [s[-1] for s in reversed(stages)], code, whole=True)
        layers = settings.predictor_layers
        self.frame_predictor = CodePredictor(code + latent, code, hidden, layers, maps=False)
        self.posterior = GaussianRecurrence(code, latent, hidden, settings.posterior_layers, maps=False)
        self.prior = GaussianRecurrence(code, latent, hidden, settings.prior_layers, maps=False)
        initialise(self)

    def _check(self, frames: Tensor) -> None:
        side = self.settings.size
        if frames.shape[-2:] != (side, side):
            raise InputError(
                f"{self.model_name} takes frames of {side}x{side} pixels, got {frames.shape[-1]}x{frames.shape[-2]}: "
                "resize them first, or set size=64 or 128"
            )


class SVGPrime(StochasticPredictor):
    """SVG' and SVG++: codes are maps of an eighth of the size; frames of any size whose sides are multiples of 8."""

    settings: "SVGPrimeSettings"

    def __init__(self, settings: "SVGPrimeSettings") -> None:
        super().__init__()
        code, latent, hidden = settings.code, settings.latent, settings.recurrent
        width = settings.width
        stages = tuple(tuple(width * c for c in stage) for stage in ((64, 64), (128, 128), (256, 256, 256)))
        self.encoder = VggEncoder(stages, code, whole=False)
        decoder = [(256 * width, 256 * width, 128 * width), (128 * width, 64 * width), (64 * width,)]
        self.decoder = VggDecoder(decoder, [s[-1] for s in reversed(stages)], code, whole=False)
        layers = settings.predictor_layers
        self.frame_predictor = CodePredictor(code + latent, code, hidden, layers, maps=True)
        self.posterior = GaussianRecurrence(code, latent, hidden, settings.posterior_layers, maps=True)
        self.prior = GaussianRecurrence(code, latent, hidden, settings.prior_layers, maps=True)
        initialise(self)

    def _check(self, frames: Tensor) -> None:
        if any(side % 8 for side in frames.shape[-2:]):
            raise InputError(
                f"{self.model_name} takes frames whose sides are multiples of 8, got "
                f"{frames.shape[-1]}x{frames.shape[-2]}: crop or resize them first"
            )


def initialise(network: nn.Module) -> None:
    """As published: convolutions and linear layers N(0, 0.02), BatchNorm's weights N(1, 0.02), biases 0.

    LSTM cells keep PyTorch's.
    """
    for name, layer in network.named_modules():
        if ".lstm." in name:
            continue
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def _draw(mean: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)


class _batch_statistics:  # noqa: N801  (reads like the context managers of torch)
    """While open, and if wanted, BatchNorm of encoder and decoder uses the batch's statistics, as the authors generate.

    The running statistics stay as they are.
    """

    def __init__(self, network: StochasticPredictor, *, wanted: bool) -> None:
        parts = (network.encoder, network.decoder) if wanted else ()
        self.layers = [m for part in parts for m in part.modules() if isinstance(m, nn.BatchNorm2d)]

    def __enter__(self) -> None:
        for layer in self.layers:
            layer.training, layer.track_running_stats = True, False

    def __exit__(self, *_: object) -> None:
        for layer in self.layers:
            layer.training, layer.track_running_stats = False, True
