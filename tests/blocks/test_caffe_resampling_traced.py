"""Caffe's resampling as compiled and exported programs have it, against the eager form."""

import pytest
import torch

from flowzoo.blocks import caffe_resampling


@pytest.mark.parametrize("function", [caffe_resampling.resample, caffe_resampling.downsample])
@pytest.mark.parametrize("size", [(64, 96), (32, 48), (7, 20), (1, 3), (1, 1), (100, 130)])
def test_the_matrix_form_is_the_eager_one(function, size, monkeypatch):
    if function is caffe_resampling.downsample and size == (100, 130):
        pytest.skip("this layer only shrinks")
    maps = torch.rand(2, 3, 64, 96)
    wanted = function(maps, size)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(function(maps, size), wanted)
