"""Geometric-matching pairs that are rendered while training."""

import numpy as np
import pytest
import torch
from PIL import Image

from flowzoo.errors import InputError
from flowzoo.training.flow.sources import open_source


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_pairs_come_from_the_photographs(kind, tmp_path):
    (tmp_path / "photographs").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "photographs" / "one.png")
    source = open_source(kind, tmp_path)
    sample, again = source[5], source[5]
    assert sample.first.shape == sample.second.shape == (3, 520, 520)
    assert sample.flow.shape == (2, 520, 520)
    assert torch.equal(sample.first, again.first)
    assert torch.equal(sample.flow, again.flow)
    assert sample.flow.abs().max() > 5


def test_no_photographs_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no image"):
        open_source("static", tmp_path)
