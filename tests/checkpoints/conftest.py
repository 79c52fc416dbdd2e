"""Seeded state dicts of the reference outputs."""

import importlib.util
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

Seeded = Callable[[str], tuple[dict[str, np.ndarray], dict[str, Tensor]]]


@pytest.fixture(scope="session")
def seeded(shared: Path) -> Seeded:
    """Name of a reference -> (its arrays, its state dict under the publisher's names)."""
    spec = importlib.util.spec_from_file_location("seeded_weights", shared / "parity" / "seeded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    @cache
    def load(name: str) -> tuple[dict[str, np.ndarray], dict[str, Tensor]]:
        arrays = dict(np.load(shared / "parity" / f"{name}.npz"))
        keys, rules = (json.loads(str(arrays[entry])) for entry in ("keys", "rules"))
        state = {key: torch.from_numpy(module.seeded_tensor(key, shape, rules)) for key, shape, _ in keys}
        return arrays, state

    return load


@pytest.fixture
def flow_of() -> Callable[..., np.ndarray]:
    """(network, arrays of a reference) -> its flow (2,H,W) on the reference's images."""

    def run(network: torch.nn.Module, arrays: dict[str, np.ndarray]) -> np.ndarray:
        images = [torch.from_numpy(arrays[key]).permute(2, 0, 1)[None] / 255 for key in ("image1", "image2")]
        with torch.inference_mode():
            return network.eval()(*images).flow[0].numpy()

    return run
