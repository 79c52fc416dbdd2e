"""Images at the sizes that the matching protocols ask for."""

import numpy as np
from PIL import Image


def resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """HxWx3 uint8 or uint16 at another size: bilinear, pixel centres aligned, no smoothing (OpenCV's INTER_LINEAR)."""
    import torch
    import torch.nn.functional as F

    if image.shape[:2] == (height, width):
        return image
    planes = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    resized = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0]
    return _stored_as(image.dtype, resized.permute(1, 2, 0).numpy())


def resize_lanczos(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """HxWx3 uint8 or uint16 at another size: Pillow's Lanczos filter, which smooths where it shrinks."""
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    # Pillow has no 16-bit colour: channel by channel in floating point.
    channels = [Image.fromarray(np.ascontiguousarray(image[..., channel], np.float32)) for channel in range(3)]
    resized = [channel.resize((width, height), Image.Resampling.LANCZOS) for channel in channels]
    return _stored_as(image.dtype, np.stack([np.asarray(channel) for channel in resized], axis=2))


def _stored_as(dtype: np.dtype, values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.rint(values).clip(0, np.iinfo(dtype).max).astype(dtype))


def pad_to_common(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both HxWx3 images with black rows below and columns to the right, so that their sizes agree."""
    height = max(first.shape[0], second.shape[0])
    width = max(first.shape[1], second.shape[1])
    return _pad(first, height, width), _pad(second, height, width)


def _pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)))
