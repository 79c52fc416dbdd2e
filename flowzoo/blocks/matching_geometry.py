"""Input and output of geometric matching networks: fixed-size images, mappings, and images of two sizes."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from flowzoo.blocks.resize import Size, scale_flow
from flowzoo.blocks.straight_through import straight_through
from flowzoo.blocks.vgg import DEVIATION, MEAN


def prepare(images: Tensor, size: Size, rounding: Literal["float", "8-bit"]) -> Tensor:
    """Images (B,3,H,W) in [0,1] -> (B,3,*size), area-averaged and normalised for VGG-16.

    Args:
        size: may be larger than the images on either axis; the average of an area then is the pixel it lies in.
        rounding: "8-bit" cuts the averages to whole multiples of 1/255, past which the gradient goes unchanged.
    """
    if tuple(images.shape[2:]) != tuple(size):
        images = F.interpolate(images, size=size, mode="area")
    if rounding == "8-bit":
        # The small number keeps k/255 * 255, which float32 may put below k, at k.
        images = straight_through(torch.floor(images.detach() * 255 + 1e-3) / 255, images)
    statistics = zip(images.split(1, dim=1), MEAN, DEVIATION, strict=True)
    return torch.cat([(channel - mean) / deviation for channel, mean, deviation in statistics], dim=1)


def mapping_to_flow(mapping: Tensor) -> Tensor:
    """Places in [-1,1] of the other grid's corner centres, (B,2,H,W) -> flow in pixels of this grid."""
    height, width = mapping.shape[2:]
    return scale_flow(mapping + 1, width - 1, height - 1) / 2 - positions(mapping)


def positions(like: Tensor) -> Tensor:
    """x and y of every pixel of a map (...,H,W): (1,2,H,W), of its dtype."""
    height, width = like.shape[-2:]
    x = torch.arange(width, dtype=like.dtype, device=like.device).expand(height, width)
    y = torch.arange(height, dtype=like.dtype, device=like.device).view(-1, 1).expand(height, width)
    return torch.stack([x, y]).unsqueeze(0)


def mirror_back(flow: Tensor) -> Tensor:
    """Flow (B,2,H,W) that was found from the mirrored first image -> flow from the image itself."""
    return (positions(flow) + flow).flip(3) - positions(flow)


def to_second_size(flow: Tensor, second: Size) -> Tensor:
    """Flow towards the second image resized to this size -> flow towards the second image at its own.

    first(p) is then found at second(p + flow) in the second image's pixels; pixel centres are at half numbers.
    """
    height, width = flow.shape[2:]
    if (height, width) == tuple(second):
        return flow
    place = positions(flow)
    return scale_flow(place + flow + 0.5, second[1] / width, second[0] / height) - 0.5 - place
