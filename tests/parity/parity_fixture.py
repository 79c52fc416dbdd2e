"""What a parity fixture is: small outputs of one network of the zoo with weights and images made from names.

A fixture proves that a network computes what it computed when it was last compared with its publisher's code. It holds
no weights: every parameter follows from its name and shape, every image from integers, on any machine and with any
version of numpy and torch. `tools/make_parity_fixtures.py` writes them, `test_parity.py` compares.
"""

import hashlib
import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowzoo import registry
from flowzoo.creation import create
from flowzoo.network import VideoNetwork, ZooNetwork

FOLDER = Path(__file__).parent
IMAGE_SIZE = 96, 128
FRAME_SIZE = 40, 56
FRAMES = 5
"""What a network that takes any number of frames is given."""


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from the fixture: the largest difference, or the mean and the share of outliers."""

    largest: float = np.inf
    mean: float = np.inf
    outlier: float = np.inf
    share: float = 0.0

    def violated_by(self, here: np.ndarray, there: np.ndarray) -> bool:
        """Whether two outputs differ by more."""
        difference = np.abs(here - there)
        return bool(
            not np.isfinite(difference).all()
            or difference.max() > self.largest
            or difference.mean() > self.mean
            or (difference > self.outlier).mean() > self.share
        )


# Pixels of flow. HD3 chooses a window of displacements, so that rounding may move single pixels far.
TOLERANCES = {
    "hd3*": Tolerance(mean=1e-3, outlier=0.05, share=1e-3),
    "*glunet*": Tolerance(largest=2e-3),
    "basenet*": Tolerance(largest=5e-3),
    "*": Tolerance(largest=1e-3),
}
FRAME_TOLERANCE = Tolerance(largest=1e-4)
"""Frames are in 0..1: this is a fortieth of a step of 8 bits."""


def tolerance(network: ZooNetwork) -> Tolerance:
    """For the outputs of `network`."""
    if isinstance(network, VideoNetwork):
        return FRAME_TOLERANCE
    return next(value for pattern, value in TOLERANCES.items() if fnmatchcase(network.model_name, pattern))


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [-1, 1) that follow from a name: float64 of `shape`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    # A bit generator's raw words never change between versions of numpy; its distributions may.
    words = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0).reshape(shape)


def seeded_value(name: str, built: Tensor, gain: float) -> Tensor:
    """What stands for the parameter or running statistic `name`, given as it was built.

    Matrices and filters: variance gain/inputs. Biases, zeros and running means: within 0.05 of zero. Other vectors:
    within a tenth of their built values, so that scales stay scales; those that are drawn around one, of one.
    """
    noise = uniform(name, tuple(built.shape))
    if built.dim() >= 2:
        noise *= np.sqrt(3.0 * gain / built[0].numel())
    elif "bias" in name.rpartition(".")[2] or name.endswith("running_mean") or not built.any():
        noise *= 0.05
    elif (built - 1).abs().max() < 0.2:
        noise = 1.0 + 0.1 * noise
    else:
        noise = built.double().numpy() * (1.0 + 0.1 * noise)
    return torch.from_numpy(noise).to(built.dtype)


def seeded_network(name: str, gain: float, settings: dict[str, Any]) -> ZooNetwork:
    """Network `name` in eval mode with seeded parameters; constants that it registers as buffers stay."""
    network = registry.build(name, **settings)
    parameters = {key for key, _ in network.named_parameters()}
    state = network.state_dict()
    for key, value in state.items():
        if key in parameters or key.endswith(("running_mean", "running_var")):
            state[key] = seeded_value(key, value, gain)
    network.load_state_dict(state)
    return network.eval()


def names_and_shapes(network: ZooNetwork) -> str:
    """A digest of the state dict's names and shapes: what a file of weights must hold."""
    text = "\n".join(f"{key} {tuple(value.shape)}" for key, value in sorted(network.state_dict().items()))
    return hashlib.sha256(text.encode()).hexdigest()


def octave(name: str, cell: int, height: int, width: int) -> np.ndarray:
    """Smooth noise, (height,width,3) int64 in 0..255: random values every `cell` pixels, interpolated in integers."""
    lattice = (uniform(name, (height // cell + 2, width // cell + 2, 3)) * 128 + 128).astype(np.int64)
    (row, down), (column, right) = (divmod(np.arange(length), cell) for length in (height, width))
    down, right = down[:, None, None], right[None, :, None]
    top, bottom = (
        lattice[rows][:, column] * (cell - right) + lattice[rows][:, column + 1] * right for rows in (row, row + 1)
    )
    return (top * (cell - down) + bottom * down) // cell**2


def moving_frames(count: int, height: int, width: int) -> Tensor:
    """(count,3,H,W) in [0,1]: a texture that moves by (3,2) pixels a frame, and a square that moves the other way."""
    margin = 4 * count

    def texture(name: str) -> np.ndarray:
        size = height + margin, width + margin
        return sum(octave(f"{name} {cell}", cell, *size) for cell in (4, 8, 8, 16)) // 4

    ground, square = texture("ground"), texture("square")
    frames = []
    for time in range(count):
        frame = ground[2 * time :, 3 * time :][:height, :width].copy()
        top, left = height // 3 - time, width // 3 - 2 * time
        inside = slice(max(top, 0), top + height // 3), slice(max(left, 0), left + height // 3)
        shown = square[time:, 2 * time :][:height, :width]
        frame[inside] = shown[inside]
        frames.append(frame)
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def strided(values: Tensor) -> np.ndarray:
    """Some 30 rows and columns of the last two axes; odd steps meet every phase of an upsampling."""
    steps = [1 + 2 * (length // 60) for length in values.shape[-2:]]
    return values[..., :: steps[0], :: steps[1]].float().cpu().numpy()


def outputs(network: ZooNetwork) -> dict[str, np.ndarray]:
    """What is compared, by name, each strided: flow, pyramid, confidence and occlusion, or frames.

    Computed on the network's device.
    """
    torch.manual_seed(0)
    device = next(network.parameters()).device
    with torch.inference_mode():
        if isinstance(network, VideoNetwork):
            side = getattr(network.settings, "size", None)  # of networks for square frames of one size
            frames = moving_frames(network.frames_in or FRAMES, *(FRAME_SIZE if side is None else (side, side)))
            return {"frames": strided(network(frames[None].to(device)).frames)}
        first, second = moving_frames(2, *IMAGE_SIZE).to(device)
        prediction = network(first[None], second[None])
    found = {"flow": prediction.flow, "confidence": prediction.confidence, "occlusion": prediction.occlusion}
    found |= {f"pyramid_{level}": flow for level, flow in enumerate(prediction.pyramid)}
    return {key: strided(value) for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class Fixture:
    """What a file of this folder holds.

    Attributes:
        arrays: what `outputs` gave.
        names_and_shapes: digest of the network's state dict.
        gain: of its seeded parameters; 0 = the weights that ship.
        settings: in which the network differs from its card.
    """

    arrays: dict[str, np.ndarray]
    names_and_shapes: str
    gain: float
    settings: dict[str, Any]

    @staticmethod
    def path(name: str) -> Path:
        """Where the fixture `name` is: a network's name, or that and "-weights" for the weights that ship."""
        return FOLDER / f"{name}.npz"

    @classmethod
    def read(cls, name: str) -> "Fixture":
        """The fixture `name`."""
        with np.load(cls.path(name)) as stored:
            arrays = dict(stored)
        return cls(arrays, **json.loads(str(arrays.pop("facts"))))

    def write(self, name: str) -> None:
        """Write it; the same content gives the same bytes."""
        facts = {"names_and_shapes": self.names_and_shapes, "gain": self.gain, "settings": self.settings}
        np.savez_compressed(self.path(name), facts=json.dumps(facts), **self.arrays)

    def network(self, name: str) -> ZooNetwork:
        """The network that it was made from, as it is now."""
        if self.gain == 0:
            return create(name, registry.card(name).default_weights, **self.settings)
        return seeded_network(name, self.gain, self.settings)
