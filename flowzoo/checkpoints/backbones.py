"""ImageNet backbones of image losses and metrics, from files that the user has. No torch at import time."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from flowzoo.assets import asset_path
from flowzoo.errors import InputError
from flowzoo.settings import suggestion

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED = {
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "alexnet": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
}
"""Where torchvision's weights are (BSD-3-Clause code; trained on ImageNet, whose terms allow research use)."""


def load_backbone(name: str, path: str | PathLike[str]) -> "dict[str, Tensor]":
    """The state dict of backbone `name` ("vgg19" or "alexnet") from a file with torchvision's key names.

    Later layers and `classifier.*` of the file are left out.

    Raises:
        InputError: an unknown name, no such file, or weights of another network; the message says where to get them.
    """
    from flowzoo.blocks.image_backbones import alexnet, vgg19
    from flowzoo.checkpoints.formats import read_checkpoint

    if name not in PUBLISHED:
        raise InputError(f"no image network named {name!r}: {suggestion(name, PUBLISHED)}")
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no weights of {name} at {path}: torchvision's are at {PUBLISHED[name]}")
    network = {"vgg19": vgg19, "alexnet": alexnet}[name]()
    try:
        network.load_published(read_checkpoint(path).tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}; torchvision's {name} is at {PUBLISHED[name]}") from error
    return network.state_dict()


def lpips_calibration() -> "dict[str, Tensor]":
    """The linear weights of LPIPS 0.1 for AlexNet, which ship with the package (BSD-2-Clause, its text beside them)."""
    from safetensors.torch import load_file

    return load_file(asset_path("weights", "lpips-alex.safetensors"))
