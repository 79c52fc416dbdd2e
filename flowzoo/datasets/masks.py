"""Reading masks: images whose stored numbers matter, not their colours."""

from os import PathLike

import numpy as np

from flowzoo.errors import InputError
from flowzoo.files.decoders import decoded_image


def read_raw(path: str | PathLike[str]) -> np.ndarray:
    """The stored values of an image file, HxW or HxWxC, without any conversion.

    Raises:
        InputError: the file is missing, truncated, or no image.
    """
    with decoded_image(path, "a mask") as image:
        return np.asarray(image)


def read_mask(path: str | PathLike[str], size: tuple[int, int]) -> np.ndarray:
    """HxW bool, True where the stored value is not 0.

    Raises:
        InputError: the file cannot be read, or is not of `size` (height, width).
    """
    values = read_raw(path)
    mask = np.ascontiguousarray((values if values.ndim == 2 else values.any(axis=-1)) != 0)
    if mask.shape != size:
        raise InputError(
            f"mask {path} is {mask.shape[1]}x{mask.shape[0]}, its flow is {size[1]}x{size[0]}; get the file again"
        )
    return mask
