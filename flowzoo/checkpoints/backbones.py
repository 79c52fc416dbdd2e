"""ImageNet backbones of image losses and metrics, from files that the user has. No torch at import time."""

import logging
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from flowzoo.assets import asset_path
from flowzoo.checkpoints.index import Backbone, backbones
from flowzoo.errors import InputError
from flowzoo.settings import suggestion

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def load_backbone(name: str, path: str | PathLike[str]) -> "dict[str, Tensor]":
    """The state dict of backbone `name` ("vgg19" or "alexnet") from a file with torchvision's key names.

    Later layers and `classifier.*` of the file are left out.

    Raises:
        InputError: an unknown name, no such file, or weights of another network; the message says where to get them.
    """
    from flowzoo.blocks.image_backbones import alexnet, vgg19
    from flowzoo.checkpoints.formats import read_checkpoint

    known = backbones()
    if name not in known:
        raise InputError(f"no image network named {name!r}: {suggestion(name, known)}")
    path, published = Path(path), known[name]
    if not path.is_file():
        raise InputError(f"no weights of {name} at {path}: torchvision's are at {published.url}")
    network = {"vgg19": vgg19, "alexnet": alexnet}[name]()
    try:
        network.load_published(read_checkpoint(path).tensors)
    except InputError as error:
        where = "" if str(error).startswith(str(path)) else f"{path}: "
        raise InputError(f"{where}{error}; torchvision's {name} is at {published.url}") from error
    _compare(path, published)
    return network.state_dict()


def _compare(path: Path, published: Backbone) -> None:
    """Say so where a file has the published one's name, but other content."""
    from flowzoo.cache import sha256_of

    if path.name == published.url.rpartition("/")[2]:
        found = sha256_of(path)
        if not found.startswith(published.sha256_prefix):
            log.warning(
                "%s is not torchvision's file of this name: SHA-256 %s..., not %s...",
                path,
                found[:8],
                published.sha256_prefix,
            )


def lpips_calibration() -> "dict[str, Tensor]":
    """The linear weights of LPIPS 0.1 for AlexNet, which ship with the package (BSD-2-Clause, its text beside them)."""
    from safetensors.torch import load_file

    return load_file(asset_path("weights", "lpips-alex.safetensors"))
