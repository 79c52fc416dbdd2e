"""Low-resolution frames against reference values, and against the plain formulas."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flowzoo.blocks.bicubic import resize_bicubic
from flowzoo.datasets.degradations import blur_down, crop_to_multiple, degrade, to_8bit
from flowzoo.errors import InputError


@pytest.fixture(scope="module")
def reference(shared):
    return np.load(shared / "parity" / "degradation-metrics.npz")


def image(reference, name, dtype=torch.float64):
    return torch.tensor(reference[name]).permute(2, 0, 1).to(dtype) / 255


@pytest.mark.parametrize("name", ["image0", "image1"])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-5)])
def test_bicubic_is_matlabs(name, factor, dtype, tolerance, reference):
    found = resize_bicubic(image(reference, name, dtype), Fraction(1, factor)).permute(1, 2, 0)
    assert np.abs(found.numpy() - reference[f"{name}_x{factor}"]).max() <= tolerance
    off = to_8bit(found).numpy() != reference[f"{name}_x{factor}_8bit"]
    assert off.mean() <= (0 if dtype == torch.float64 else 1e-3)


def test_bicubic_enlargement_is_matlabs(reference):
    found = resize_bicubic(image(reference, "image0")[:, :20, :24], 4).permute(1, 2, 0)
    assert np.abs(found.numpy() - reference["image0_up4"]).max() <= 1e-6
    assert (to_8bit(found).numpy() == reference["image0_up4_8bit"]).all()


@pytest.mark.parametrize("name", ["image0", "image1"])
@pytest.mark.parametrize(("phase", "key"), [("centred", "bd_centred"), ("corner", "bd_duf")])
def test_blurred_frames_in_both_phases(name, phase, key, reference):
    found = blur_down(image(reference, name), 4, phase).permute(1, 2, 0)
    assert np.abs(found.numpy() - reference[f"{name}_{key}"]).max() <= 1e-6


def test_inside_it_is_what_antialiased_interpolation_gives():
    images = torch.rand(2, 3, 64, 80, dtype=torch.float64)
    wanted = F.interpolate(images, scale_factor=0.25, mode="bicubic", antialias=True)
    assert (resize_bicubic(images, Fraction(1, 4)) - wanted)[..., 3:-3, 3:-3].abs().max() < 1e-12


@pytest.mark.parametrize("scale", [Fraction(1, 4), Fraction(1, 3), 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 17)])
def test_tiny_frames_keep_a_constant(scale, size):
    found = resize_bicubic(torch.full((1, *size), 0.3, dtype=torch.float64), scale)
    assert found.shape == (1, *(-(-side * Fraction(scale)).__floor__() for side in size))
    assert (found - 0.3).abs().max() < 1e-12


def test_degraded_frames_are_those_of_8_bit_files():
    frames = torch.rand(2, 3, 33, 46)
    for kind in ("bicubic", "blur-centred", "blur-corner"):
        small = degrade(frames, kind)
        assert small.shape == (2, 3, 8, 11)
        assert (small * 255 - (small * 255).round()).abs().max() < 1e-4
    assert crop_to_multiple(frames, 4).shape == (2, 3, 32, 44)
    assert to_8bit(torch.tensor([-1.0, 0.5 / 255, 1.4 / 255, 2.0])).tolist() == [0, 1, 1, 255]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: resize_bicubic(torch.zeros(3, 4, 4, dtype=torch.uint8), 4), "float"),
        (lambda: resize_bicubic(torch.zeros(3, 4, 4), 0), "above 0"),
        (lambda: blur_down(torch.zeros(3, 8, 8), 4, "middle"), "phase"),
        (lambda: blur_down(torch.zeros(3, 6, 6), 4, "corner"), "too small"),
        (lambda: degrade(torch.zeros(3, 8, 8), "nearest"), "no degradation"),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
