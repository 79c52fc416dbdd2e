"""Reference outputs and the seeded weights they were made with."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@cache
def _seeded_tensor(shared: Path):
    spec = importlib.util.spec_from_file_location("seeded_weights_of_references", shared / "parity" / "seeded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.seeded_tensor


def load(shared: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Tensor]]:
    """Arrays of a reference, and its state dict under the publisher's names."""
    arrays = dict(np.load(shared / "parity" / f"{name}.npz"))
    keys, rules = (json.loads(str(arrays[entry])) for entry in ("keys", "rules"))
    seeded_tensor = _seeded_tensor(shared)
    return arrays, {key: torch.from_numpy(seeded_tensor(key, shape, rules)) for key, shape, _ in keys}


def image_pair(arrays: dict[str, np.ndarray]) -> list[Tensor]:
    """Its two images as (1,3,H,W) in [0,1]."""
    return [torch.from_numpy(arrays[key]).permute(2, 0, 1)[None].float() / 255 for key in ("image1", "image2")]
