"""What one request asks for, and computing it exactly as `flowzoo infer` does."""

import io
import itertools
import json
import struct
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from flowzoo.creation import create_flow_network
from flowzoo.demo.options import Choice
from flowzoo.devices import pick_precision
from flowzoo.errors import InputError
from flowzoo.files.flow import write_flow
from flowzoo.files.images import eight_bits, write_image
from flowzoo.inference.estimator import Estimator
from flowzoo.inference.outputs import warped_image
from flowzoo.inference.sources import open_source
from flowzoo.visualise import flow_picture, flow_scale

LARGEST = 3840 * 2160
"""Pixels of an image; what the page gets back is some ten bytes for each."""


@dataclass(frozen=True)
class Request:
    """One pair.

    Attributes:
        files: (name, content as a file on disk) of two images, or of one clip.
        choice: network and weights.
        precision: as `flowzoo infer --precision`.
        pair: of a clip, which pair of neighbours, from 0.
    """

    files: tuple[tuple[str, Path], ...]
    choice: Choice
    precision: str = "float32"
    pair: int = 0


@dataclass
class Worker:
    """Computes one request after the other; keeps the last network.

    Attributes:
        device: where networks run.
        memory: gigabytes, as `flowzoo infer --memory`.
    """

    device: torch.device
    memory: float | None = None
    _network: tuple[Choice, str, Estimator] | None = field(default=None, init=False)

    def estimator(self, choice: Choice, precision: str) -> Estimator:
        """The network, ready to run.

        Raises:
            InputError: weights that do not fit, or a precision that this device does not have.
        """
        if self._network is None or self._network[:2] != (choice, precision):
            self._network = None  # two large networks need not fit into memory at once
            network = create_flow_network(choice.model, choice.weights).to(self.device)
            chosen = pick_precision(precision, self.device)
            self._network = choice, precision, Estimator(network, chosen, memory=self.memory, occlusion=True)
        return self._network[2]

    def run(self, request: Request) -> bytes:
        """The answer to a request, see `packed`.

        Raises:
            InputError: an image cannot be read, is too large, or does not go with the other; the names in the message
                are those of the request.
        """
        paths = [path for _, path in request.files]
        try:
            source = open_source(str(paths[0]), str(paths[1]) if len(paths) > 1 else None, None)
            height, width = source.size
            if height * width > LARGEST:
                raise InputError(
                    f"{paths[0]} has {width}x{height} pixels: at most {LARGEST / 1e6:.1f} million are taken"
                )
            estimator = self.estimator(request.choice, request.precision)
            if estimator.network.same_size:
                source.require_one_size()
            pair = next(itertools.islice(source.pairs(lambda index, _: index < request.pair), 1), None)
            if pair is None:
                raise InputError(f"{paths[0]} has no pair {request.pair}: its last one is {(source.count or 1) - 1}")
            began = time.perf_counter()
            found = estimator(pair.first, pair.second)
            seconds = time.perf_counter() - began
        except InputError as error:
            raise InputError(_named(str(error), request.files)) from error
        assert found.occlusion is not None, "the estimator was asked for it"
        facts = {
            "width": width,
            "height": height,
            "seconds": seconds,
            "scale": flow_scale(found.flow, percentile=100),
            "occluded": float(found.occlusion.mean()),
            "network": request.choice.title,
            "precision": request.precision,
            "device": str(self.device),
            "pair": request.pair,
            "pairs": source.count or 1,
        }
        with tempfile.TemporaryDirectory(prefix="flowzoo-demo-") as folder:
            write_flow(Path(folder, "flow.flo"), found.flow)
            write_image(Path(folder, "flow.png"), flow_picture(found.flow))
            parts = {name: Path(folder, name).read_bytes() for name in ("flow.flo", "flow.png")}
        parts["first"] = _quick_png(eight_bits(pair.first))
        parts["warped"] = _quick_png(warped_image(pair.second, found.flow))
        parts["occlusion"] = _quick_png(tinted(eight_bits(pair.first), found.occlusion))
        return packed(facts, parts)


def packed(facts: Mapping[str, object], parts: Mapping[str, bytes]) -> bytes:
    """Bytes of a JSON text (4, little endian), the text with `facts` and the parts' lengths, then the parts."""
    text = json.dumps({**facts, "parts": [[name, len(part)] for name, part in parts.items()]}).encode()
    return b"".join([struct.pack("<I", len(text)), text, *parts.values()])


def tinted(image: np.ndarray, occluded: np.ndarray) -> np.ndarray:
    """An image, HxWx3 uint8, whose occluded pixels are half red."""
    shown = image.copy()
    shown[occluded] = image[occluded] // 2 + np.array((128, 0, 0), np.uint8)
    return shown


def _quick_png(image: np.ndarray) -> bytes:
    """For the screen of this machine: small counts less than soon."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _named(message: str, files: tuple[tuple[str, Path], ...]) -> str:
    """A message with the user's names in place of those on disk."""
    for name, path in files:
        message = message.replace(str(path), name)
    return message
