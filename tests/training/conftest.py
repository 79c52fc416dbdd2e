"""Fixtures of the training tests."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from preset_samples import make_samples

from flowzoo.synthetic import SyntheticPairs


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with tiny pairs; see `preset_samples`."""
    return make_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with smooth pictures, and with two pairs in a list."""
    folder = tmp_path_factory.mktemp("root")
    (folder / "photographs").mkdir()
    random = np.random.default_rng(0)
    for name in ("one", "two"):
        small = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        small.resize((400, 300), Image.Resampling.BICUBIC).save(folder / "photographs" / f"{name}.png")
    SyntheticPairs(folder / "photographs", size=(64, 64))  # the pictures can be used
    return folder
