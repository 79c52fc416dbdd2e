"""Enlarging as Pillow does it."""

import numpy as np
import pytest
import torch
from PIL import Image

from flowzoo.blocks.resize_8bit import enlarge_8bit


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((150, 203), (192, 256)), ((1, 1), (64, 64)), ((65, 100), (128, 100)), ((63, 7), (64, 64)), ((30, 64), (30, 128))],
)
def test_every_grey_level_is_pillows(size, wanted):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize(wanted[::-1], Image.Resampling.BILINEAR))
    found = enlarge_8bit(torch.from_numpy(image).permute(2, 0, 1)[None] / 255, wanted)
    assert torch.equal((found * 255).round().to(torch.uint8)[0].permute(1, 2, 0), torch.from_numpy(expected.copy()))
