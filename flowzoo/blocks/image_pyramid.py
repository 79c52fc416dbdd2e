"""Pyramids of images, without learned parts."""

import torch.nn.functional as F
from torch import Tensor


def mean_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """(B,C,H,W) -> `levels` maps, coarse to fine, each the 2x2 means of the next; the last one is `images` itself.

    An odd last row or column is left out of the means.
    """
    pyramid = [images]
    while len(pyramid) < levels:
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid[::-1]
