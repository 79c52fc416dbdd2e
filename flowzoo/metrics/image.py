"""Similarity of images, each variant under a name that says which. All take batches (B,3,H,W) and give (B,).

Papers mean different things by PSNR and SSIM: range, window, borders, rounding. `METRICS` lists what is here by name;
inputs are in [0,1] unless the function says otherwise.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.errors import InputError

_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of MS-SSIM (Wang, Simoncelli, Bovik, 2003), fine to coarse."""


def to_8bit(images: Tensor, rounding: Literal["nearest", "down"] = "nearest") -> Tensor:
    """Images in [0,1] as whole numbers 0..255 (of the same type), clamped; "down" truncates."""
    scaled = (images * 255).clamp(0, 255)
    return scaled.round() if rounding == "nearest" else scaled.floor()


def psnr(first: Tensor, second: Tensor, peak: float = 1.0) -> Tensor:
    """10 log10(peak^2 / mean squared error) of each pair over all channels; infinite for equal images."""
    _check(first, second)
    return 10 * torch.log10(peak**2 / (first - second).square().flatten(1).mean(dim=1))


def psnr_8bit(first: Tensor, second: Tensor) -> Tensor:
    """PSNR of images rounded to 8 bits first."""
    return psnr(to_8bit(first), to_8bit(second), peak=255.0)


def psnr_vimeo(first: Tensor, second: Tensor) -> Tensor:
    """FLAVR's for Vimeo-90K: floats as they are, -10 log10(mean squared error + 1e-8); 80 dB for equal images."""
    _check(first, second)
    return -10 * torch.log10((first - second).square().flatten(1).mean(dim=1) + 1e-8)


def psnr_svg(first: Tensor, second: Tensor) -> Tensor:
    """SVG's: channel by channel with peak 1, then the channels' mean."""
    _check(first, second)
    return (-10 * torch.log10((first - second).square().flatten(2).mean(dim=2))).mean(dim=1)


def ssim_uniform(first: Tensor, second: Tensor, value_range: float = 1.0) -> Tensor:
    """SSIM as scikit-image computes it by default: uniform 7x7 window, sample covariance, borders cropped by 3.

    Channel by channel, then their mean. `value_range` is the largest value minus the smallest.
    """
    return _ssim_maps(first, second, _uniform(7, first), value_range, sample=True)[0].flatten(1).mean(dim=1)


def ssim_table1(prediction: Tensor, target: Tensor) -> Tensor:
    """As in Table 1 of "Comparing Correspondences": the prediction truncated to 8 bits, `ssim_uniform` on [-1,1].

    Which value is truncated to which number depends on the last bit, so the network's float32 output in [-1,1], as the
    authors have it, is formed first.
    """
    signed = prediction.float() * 2 - 1
    written = to_8bit((signed + 1) / 2, "down").to(prediction.dtype) / 255
    return ssim_uniform(written * 2 - 1, target * 2 - 1, value_range=2.0)


def ssim_svg(first: Tensor, second: Tensor) -> Tensor:
    """SVG's evaluation with the scikit-image of its time: images in [0,1], `ssim_uniform` with range 2."""
    return ssim_uniform(first, second, value_range=2.0)


def ssim_gaussian(first: Tensor, second: Tensor, value_range: float = 1.0) -> Tensor:
    """SSIM of Wang et al. 2004: Gaussian 11x11 window of deviation 1.5, borders cropped by 5; mean over channels."""
    return _ssim_maps(first, second, _gaussian(11, 1.5, first), value_range, sample=False)[0].flatten(1).mean(dim=1)


def ssim_vimeo(first: Tensor, second: Tensor) -> Tensor:
    """FLAVR's for Vimeo-90K: an 11x11x11 Gaussian over colour, rows and columns, borders repeated, values clamped."""
    _check(first, second)
    window = _gaussian(11, 1.5, first)

    def blur(volume: Tensor) -> Tensor:
        volume = F.pad(volume.unsqueeze(1), (5, 5, 5, 5, 5, 5), mode="replicate")
        for axis in range(3):
            shape = [1, 1, 1, 1, 1]
            shape[2 + axis] = 11
            volume = F.conv3d(volume, window.view(shape))
        return volume.squeeze(1)

    structure, luminance = _comparison(first.clamp(0, 1), second.clamp(0, 1), blur, 1.0, 1.0)
    return (structure * luminance).flatten(1).mean(dim=1)


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """MS-SSIM as TensorFlow's `ssim_multiscale(max_val=1)`: five scales, odd sides padded by one mirrored line.

    Contrast and structure at four scales, all of SSIM at the fifth; negative values count as 0; channel by channel,
    then their mean. Both sides need at least 161 pixels.

    Raises:
        InputError: images that are smaller.
    """
    _check(first, second)
    if min(first.shape[-2:]) < 161:
        raise InputError(f"MS-SSIM needs images of at least 161x161 pixels, got {first.shape[-2]}x{first.shape[-1]}")
    product = first.new_ones(first.shape[:2])
    window = _gaussian(11, 1.5, first)
    for scale, exponent in enumerate(_SCALES):
        if scale > 0:
            first, second = _halved(first), _halved(second)
        whole, structure = _ssim_maps(first, second, window, 1.0, sample=False)
        chosen = whole if scale == len(_SCALES) - 1 else structure
        product = product * F.relu(chosen.flatten(2).mean(dim=2)) ** exponent
    return product.mean(dim=1)


def luma_8bit(images: Tensor) -> Tensor:
    """Y of BT.601, 16..235, (B,1,H,W), of images rounded to 8 bits first; Y itself is not rounded.

    As super-resolution papers measure it. MATLAB's rgb2ycbcr of bytes rounds Y, too: 0.01 to 0.05 dB lower.
    """
    weights = images.new_tensor((65.481, 128.553, 24.966)).view(1, 3, 1, 1)
    return (to_8bit(images) * weights).sum(dim=1, keepdim=True) / 255 + 16


def psnr_8bit_y(first: Tensor, second: Tensor) -> Tensor:
    """PSNR of `luma_8bit` with peak 255."""
    _check(first, second)
    return psnr(luma_8bit(first), luma_8bit(second), peak=255.0)


def ssim_8bit(first: Tensor, second: Tensor) -> Tensor:
    """`ssim_gaussian` of images rounded to 8 bits, range 255."""
    return ssim_gaussian(to_8bit(first), to_8bit(second), value_range=255.0)


def ssim_8bit_y(first: Tensor, second: Tensor) -> Tensor:
    """`ssim_gaussian` of `luma_8bit`, range 255."""
    _check(first, second)
    return ssim_gaussian(luma_8bit(first), luma_8bit(second), value_range=255.0)


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": psnr,
    "psnr_8bit": psnr_8bit,
    "psnr_8bit_y": psnr_8bit_y,
    "psnr_vimeo": psnr_vimeo,
    "psnr_svg": psnr_svg,
    "ssim_uniform": ssim_uniform,
    "ssim_table1": ssim_table1,
    "ssim_svg": ssim_svg,
    "ssim_gaussian": ssim_gaussian,
    "ssim_8bit": ssim_8bit,
    "ssim_8bit_y": ssim_8bit_y,
    "ssim_vimeo": ssim_vimeo,
    "ms_ssim": ms_ssim,
}
"""Every variant by name."""


def _check(first: Tensor, second: Tensor) -> None:
    if first.dim() != 4 or first.shape != second.shape:
        raise InputError(f"give two batches (B,3,H,W) of one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    if not (first.is_floating_point() and second.is_floating_point()):
        raise InputError(f"give floating-point images in [0,1], got {first.dtype} and {second.dtype}")


def _uniform(size: int, like: Tensor) -> Tensor:
    return like.new_full((size,), 1 / size)


def _gaussian(size: int, deviation: float, like: Tensor) -> Tensor:
    x = torch.arange(size, device=like.device, dtype=like.dtype) - size // 2
    weights = torch.exp(-(x**2) / (2 * deviation**2))
    return weights / weights.sum()


def _ssim_maps(
    first: Tensor, second: Tensor, window: Tensor, value_range: float, *, sample: bool
) -> tuple[Tensor, Tensor]:
    """SSIM, and its contrast-structure part, at every place of the separable window: (B,C,h,w) each."""
    _check(first, second)
    size = len(window)
    if min(first.shape[-2:]) < size:
        raise InputError(f"images of {first.shape[-2]}x{first.shape[-1]} are smaller than SSIM's {size}x{size} window")

    def blur(maps: Tensor) -> Tensor:
        flat = maps.flatten(0, 1).unsqueeze(1)
        flat = F.conv2d(F.conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
        return flat.view(*maps.shape[:2], *flat.shape[-2:])

    unbiased = size**2 / (size**2 - 1) if sample else 1.0
    structure, luminance = _comparison(first, second, blur, value_range, unbiased)
    return structure * luminance, structure


def _comparison(
    first: Tensor, second: Tensor, blur: Callable[[Tensor], Tensor], value_range: float, unbiased: float
) -> tuple[Tensor, Tensor]:
    """Contrast-structure and luminance of SSIM (Wang, Bovik, Sheikh, Simoncelli, 2004, equations 6 and 13)."""
    steady_mean, steady_variance = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    mean_1, mean_2 = blur(first), blur(second)
    variance_1 = unbiased * (blur(first * first) - mean_1 * mean_1)
    variance_2 = unbiased * (blur(second * second) - mean_2 * mean_2)
    covariance = unbiased * (blur(first * second) - mean_1 * mean_2)
    structure = (2 * covariance + steady_variance) / (variance_1 + variance_2 + steady_variance)
    luminance = (2 * mean_1 * mean_2 + steady_mean) / (mean_1 * mean_1 + mean_2 * mean_2 + steady_mean)
    return structure, luminance


def _halved(images: Tensor) -> Tensor:
    """Means of 2x2 pixels; an odd side gets its last line once more first."""
    height, width = images.shape[-2:]
    return F.avg_pool2d(F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"), 2)
