"""Published HD3 files -> flowzoo's names: the authors' `.pth`, ptlflow's `.ckpt`, and ImageNet's DLA-34."""

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.zoo.hd3 import HD3Settings

# Where a convolution (0) and its norm (1) stand in one list.
_PLACES = r"stem|level[01]|project(?:\.\d)?|merge\.\d|decoder\.layers\.\d"
# Each rule rewrites a part of a name; all that match are applied, in order.
_RULES = (
    (r"^encoder\.base\.base_layer\.", "backbone.stem."),
    (r"^encoder\.base\.level([01])\.", r"backbone.level\1."),
    (r"^encoder\.base\.level([2-6])\.", lambda match: f"backbone.trees.{int(match[1]) - 2}."),
    (r"\.tree1\b", ".first"),
    (r"\.tree2\b", ".second"),
    (r"^encoder\.dla_up\.ida_(\d+)\.", r"aggregate.stages.\1."),
    (r"\.proj_(\d+)\.", lambda match: f".project.{int(match[1]) - 1}."),
    (r"\.up_(\d+)\.", lambda match: f".enlarge.{int(match[1]) - 1}."),
    (r"\.node_(\d+)\.", lambda match: f".merge.{int(match[1]) - 1}."),
    (r"^cost_bn_(\d)\.", r"levels.\1.normalise."),
    (r"^Decoder_(\d)\.", r"levels.\1.decoder."),
    (r"\.decoder\.cls\.", ".decoder.classify."),
    (r"\.decoder\.up\.", ".decoder.enlarge."),
    (r"\.decoder\.dc_conv_(\d)\.", r".decoder.layers.\1."),
    # The decoders' blocks start with a norm; the backbone's end with one.
    (r"\.mapping\.block1\.", ".mapping.first."),
    (r"\.mapping\.block2\.", ".mapping.second."),
    (r"(\.mapping\.\w+)\.bn1\.", r"\1.norm."),
    (r"(\.mapping\.\w+)\.bn2\.", r"\1.first.norm."),
    (r"(\.mapping\.\w+)\.conv1\.", r"\1.first.convolution."),
    (r"(\.mapping\.\w+)\.conv2\.", r"\1.second."),
    (r"(\.mapping\.\w+)\.shortcut\.0\.", r"\1.shortcut."),
    (r"\.conv1\.", ".first.convolution."),
    (r"\.bn1\.", ".first.norm."),
    (r"\.conv2\.", ".second.convolution."),
    (r"\.bn2\.", ".second.norm."),
    (r"\.root\.conv\.", ".root.convolution."),
    (r"\.root\.bn\.", ".root.norm."),
    (rf"\.({_PLACES})\.0\.(\w+)$", r".\1.convolution.\2"),
    (rf"\.({_PLACES})\.1\.(\w+)$", r".\1.norm.\2"),
)
_PREFIX = re.compile(r"^(module\.|model\.|hd3net\.)+")
_IMAGENET = "base_layer.0.weight"


def convert(state_dict: dict[str, Tensor], settings: "HD3Settings") -> dict[str, Tensor]:
    """A published state dict with flowzoo's names.

    An ImageNet DLA-34 file (known by its `base_layer` and `fc` entries) fills the backbone but for its last level; all
    other parts keep their random start, drawn from a fixed seed, for training from there.

    Args:
        state_dict: names with or without `module.hd3net.`, with or without `num_batches_tracked`.
        settings: of the network that is to be filled.

    Raises:
        InputError: the file has the context module and the settings have not, or the reverse.
    """
    if any(_PREFIX.sub("", name) == _IMAGENET for name in state_dict):
        return _with_imagenet(state_dict, settings)
    renamed = {rename(name): values for name, values in state_dict.items()}
    has_context = any(".decoder.layers." in name for name in renamed)
    if has_context != settings.context:
        wanted, found = ("hd3-context", "hd3") if settings.context else ("hd3", "hd3-context")
        raise InputError(f"this is a checkpoint of {found}, not of {wanted}: use --model {found}")
    for name in list(renamed):
        if name.endswith(".running_var"):
            renamed.setdefault(name.replace("running_var", "num_batches_tracked"), torch.zeros((), dtype=torch.int64))
    return renamed


def rename(name: str) -> str:
    """One published name -> ours; a name that no rule knows keeps its text."""
    name = _PREFIX.sub("", name)
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def _with_imagenet(state_dict: dict[str, Tensor], settings: "HD3Settings") -> dict[str, Tensor]:
    """The whole network with the ImageNet backbone in it."""
    from flowzoo.models.hd3 import HD3

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        filled = HD3(settings).state_dict()
    for name, values in state_dict.items():
        name = _PREFIX.sub("", name)
        if name.startswith("fc."):
            continue
        ours = rename(f"encoder.base.{name}")
        if ours not in filled or filled[ours].shape != values.shape:
            raise InputError(f"this is not a DLA-34 of ImageNet: {name} {tuple(values.shape)} has no place in HD3")
        filled[ours] = values
    return filled
