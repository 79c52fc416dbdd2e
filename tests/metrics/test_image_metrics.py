"""Image metrics against reference outputs and against scikit-image and pytorch-msssim."""

import numpy as np
import pytest
import torch

from flowzoo.errors import InputError
from flowzoo.metrics import image as metrics

CASES = range(4)


@pytest.fixture(scope="module")
def arrays(shared):
    return dict(np.load(shared / "parity" / "image-metrics.npz"))


def as_batch(array, kind):
    return torch.from_numpy(np.asarray(array, dtype=np.float64)).permute(2, 0, 1)[None].to(kind)


def values(arrays, case, kind):
    """Name of the reference -> our value."""
    first, second = (as_batch(arrays[f"image{k}_{case}"], kind) / 255 for k in (1, 2))
    prediction = as_batch(arrays.get(f"prediction_{case}", first[0].permute(1, 2, 0).numpy()), kind)
    found = {
        "ssim_table1": metrics.ssim_table1(prediction, second),
        "ssim_uniform7_01": metrics.ssim_uniform(first, second),
        "ssim_uniform7_8bit": metrics.ssim_uniform(first * 255, second * 255, 255.0),
        "ssim_gaussian_wang": metrics.ssim_gaussian(first, second),
        "ssim_svg": metrics.ssim_svg(first, second),
        "ssim_vimeo": metrics.ssim_vimeo(prediction, second),
        "psnr_vimeo": metrics.psnr_vimeo(prediction, second),
        "psnr_identical_vimeo": metrics.psnr_vimeo(second, second),
        "psnr_8bit": metrics.psnr_8bit(first, second),
        "psnr_svg": metrics.psnr_svg(first, second),
    }
    if f"ms_ssim_table2_{case}" in arrays:
        found["ms_ssim_table2"] = metrics.ms_ssim(first, second)
    return {name: value.item() for name, value in found.items()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_every_variant_has_its_value(case, kind, arrays):
    for name, value in values(arrays, case, kind).items():
        tolerance = 1e-6 if kind == torch.float64 else 1e-5
        tolerance = {"ms_ssim_table2": 1e-4 if kind == torch.float32 else 1e-6, "ssim_vimeo": 2e-5}.get(name, tolerance)
        assert value == pytest.approx(float(arrays[f"{name}_{case}"]), abs=tolerance), name


def random_pair(height, width):
    first = torch.rand(2, 3, height, width, dtype=torch.float64)
    return first, (first + 0.1 * torch.randn_like(first)).clamp(0, 1)


def test_second_opinions():
    skimage = pytest.importorskip("skimage.metrics")
    package = pytest.importorskip("pytorch_msssim")
    first, second = random_pair(41, 53)
    for a, b, ours in zip(first, second, metrics.ssim_uniform(first, second), strict=True):
        theirs = skimage.structural_similarity(a.numpy(), b.numpy(), channel_axis=0, data_range=1.0)
        assert ours.item() == pytest.approx(theirs, abs=1e-12)
    for a, b, ours in zip(first, second, metrics.psnr(first, second), strict=True):
        theirs = skimage.peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1.0)
        assert ours.item() == pytest.approx(theirs, abs=1e-9)
    theirs = package.ssim(first, second, data_range=1.0, size_average=False)
    assert metrics.ssim_gaussian(first, second).tolist() == pytest.approx(theirs.tolist(), abs=1e-5)
    first, second = random_pair(176, 192)  # multiples of 16, where both pad nothing
    theirs = package.ms_ssim(first, second, data_range=1.0, size_average=False)
    assert metrics.ms_ssim(first, second).tolist() == pytest.approx(theirs.tolist(), abs=1e-5)


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_each_pair_of_a_batch_alone(name):
    first, second = random_pair(164, 165)
    function = metrics.METRICS[name]
    alone = torch.cat([function(first[k : k + 1], second[k : k + 1]) for k in range(2)])
    assert torch.allclose(function(first, second), alone, rtol=0, atol=1e-12)
    assert function(first[:1], second[:1]).item() != function(first[1:], second[1:]).item()


def test_mistakes_are_one_line():
    first, second = random_pair(20, 20)
    with pytest.raises(InputError, match="one shape"):
        metrics.psnr(first, second[..., :19])
    with pytest.raises(InputError, match="floating-point"):
        metrics.psnr(first, (second * 255).byte())
    with pytest.raises(InputError, match="161x161"):
        metrics.ms_ssim(first, second)
    with pytest.raises(InputError, match="smaller than SSIM's 11x11"):
        metrics.ssim_gaussian(first[..., :10], second[..., :10])
