"""Cards of SVG-LP and SVG'."""

from dataclasses import dataclass
from typing import Literal

from flowzoo.zoo.card import Card


@dataclass(frozen=True)
class SVGSettings:
    """What can be changed in SVG-LP. The defaults are edenton/svg's KTH settings.

    Attributes:
        architecture: of encoder and decoder, "dcgan" or "vgg".
        size: of the square frames, pixels.
        code: channels of a frame's code (g).
        latent: dimensions of the latent (z).
        recurrent: width of the LSTMs.
        predictor_layers, posterior_layers, prior_layers: LSTM layers of each part.
        last_frame_skip: the decoder's context maps come from every step's frame instead of the last context frame but
            one.
        batch_statistics: generate with the batch's statistics in encoder and decoder, as the authors do (they generate
            100 sequences at a time).
    """

    architecture: Literal["dcgan", "vgg"] = "vgg"
    size: Literal[64, 128] = 64
    code: int = 128
    latent: int = 24
    recurrent: int = 256
    predictor_layers: int = 2
    posterior_layers: int = 1
    prior_layers: int = 1
    last_frame_skip: bool = False
    batch_statistics: bool = False


@dataclass(frozen=True)
class SVGPrimeSettings:
    """What can be changed in SVG'. The defaults are SVG++ of "Comparing Correspondences", as far as it is stated.

    Attributes:
        width: factor K of the encoder's and decoder's channels (64, 128, 256).
        code: channels of a frame's code (g).
        latent: channels of the latent (z).
        recurrent: channels of the ConvLSTMs. The paper says 512 and a factor M = 2 without saying whether 512 is before
            or after it; 1024 is the other reading.
        predictor_layers, posterior_layers, prior_layers, last_frame_skip, batch_statistics: as in SVG-LP.
    """

    width: int = 2
    code: int = 512
    latent: int = 128
    recurrent: int = 512
    predictor_layers: int = 2
    posterior_layers: int = 1
    prior_layers: int = 1
    last_frame_skip: bool = False
    batch_statistics: bool = False


CARDS = (
    Card(
        name="svg",
        summary="SVG-LP: frames from a learned prior over vectors, with LSTMs; 64x64 or 128x128",
        build="flowzoo.models.video.svg:SVG",
        settings=SVGSettings(),
        parameters=8_689_600 + 11_822_659 + 1_124_736 + 2 * 571_696,
        task="prediction",
        paper="Denton, Fergus: Stochastic Video Generation with a Learned Prior, ICML 2018",
        parts={
            "features": "vgg or dcgan encoder to a vector, with skips",
            "predict": "two LSTM layers on code and latent",
            "latent": "learned prior, posterior in training",
        },
        checkpoint="flowzoo.checkpoints.svg:convert",
        notes="The authors publish pickled modules, which are never loaded; save the parts' state dicts instead.",
    ),
    Card(
        name="svg-prime",
        summary="SVG' with the sizes of SVG++: codes and latents are maps, ConvLSTMs",
        build="flowzoo.models.video.svg:SVGPrime",
        settings=SVGPrimeSettings(),
        parameters=9_300_608 + 12_395_651 + 43_062_272 + 2 * 22_416_128,
        task="prediction",
        paper="Villegas et al.: High Fidelity Video Prediction with Large Stochastic RNNs, NeurIPS 2019; sizes: "
        "Geng, Hamilton, Owens, CVPR 2022",
        parts={
            "features": "shallow vgg encoder to maps of an eighth of the size, with skips",
            "predict": "two ConvLSTM layers on code and latent",
            "latent": "learned prior, posterior in training",
        },
        checkpoint="flowzoo.checkpoints.svg:convert",
        notes="No weights of the authors exist.",
    ),
)
