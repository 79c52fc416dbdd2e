"""Images at the sizes that the matching protocols ask for."""

import numpy as np


def resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """HxWx3 uint8 at another size: bilinear, pixel centres aligned, no smoothing (OpenCV's INTER_LINEAR)."""
    import torch
    import torch.nn.functional as F

    if image.shape[:2] == (height, width):
        return image
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0]
    return np.ascontiguousarray(resized.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy())


def pad_to_common(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both HxWx3 images with black rows below and columns to the right, so that their sizes agree."""
    height = max(first.shape[0], second.shape[0])
    width = max(first.shape[1], second.shape[1])
    return _pad(first, height, width), _pad(second, height, width)


def _pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)))
