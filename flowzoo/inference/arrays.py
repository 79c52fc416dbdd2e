"""What an image handed over in Python must be, and how to make one of what was handed over instead."""

import os
from typing import Any

import numpy as np


def fault_of(image: Any) -> str:
    """Why `image` is no HxWx3 uint8 or uint16 RGB array, and how to make it one; "" if it is one."""
    if not isinstance(image, np.ndarray):
        return f"{type(image).__name__}: {_conversion(image)}"
    shape = "x".join(map(str, image.shape)) or "a single number"
    found = f"{shape} {image.dtype}"
    if image.ndim == 2:
        return f"{found}: make it three channels by numpy.stack([image] * 3, axis=-1)"
    if image.ndim == 3 and image.shape[2] == 4:
        return f"{found}: drop the fourth channel by image[..., :3]"
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        return f"{found}: move the channels last by image.transpose(1, 2, 0)"
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        return found
    if image.dtype in (np.uint8, np.uint16):
        return ""
    if np.issubdtype(image.dtype, np.floating):
        return f"{found}: for values in 0..1, (image * 255).round().astype(numpy.uint8)"
    return f"{found}: for values in 0..255, image.astype(numpy.uint8); in 0..65535, image.astype(numpy.uint16)"


def _conversion(image: Any) -> str:
    if isinstance(image, (str, os.PathLike)):
        return "read the file by flowzoo.files.images.read_picture(path), or use `flowzoo infer`"
    if hasattr(image, "convert"):
        return "numpy.asarray(image.convert('RGB')) makes an array of a PIL image"
    if hasattr(image, "permute"):
        return "call the network itself on tensors, or give (image.permute(1, 2, 0) * 255).byte().numpy()"
    return "numpy.asarray(image, dtype=numpy.uint8) makes an array of numbers in 0..255"
