"""Published names of TDAN -> ours: the authors' and mmagic's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming, unknown_names

if TYPE_CHECKING:
    from flowzoo.zoo.tdan import TDANSettings

_AUTHORS = (("off2d_1", "dconv_1"), ("off2d_2", "deconv_2"), ("off2d_3", "deconv_3"), ("off2d", "dconv"))
_MMAGIC = ("feat_aggregate.1", "feat_aggregate.2", "align_1", "align_2")


def convert(state: Mapping[str, Tensor], settings: "TDANSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or do not match these settings.
    """
    if any(name.startswith("align.0.") for name in state):
        return dict(state)
    if "cr.weight" in state:
        return _authors(Renaming(state, "the authors'"), settings).finish()
    prefix = "generator."
    state = {name.removeprefix(prefix): value for name, value in state.items()}
    if "feat_aggregate.0.weight" in state:
        return _mmagic(Renaming(state, "mmagic"), settings).finish()
    raise unknown_names(state, "the authors' or mmagic's TDAN")


def _blocks(names: Renaming, theirs: str, ours: str, count: int) -> None:
    for index in range(count):
        for layer in ("conv1", "conv2"):
            names.move_layer(f"{theirs}.{index}.{layer}", f"{ours}.{index}.{layer}")


def _authors(names: Renaming, settings: "TDANSettings") -> Renaming:
    names.move_layer("conv_first", "conv_first")
    _blocks(names, "residual_layer", "extract", settings.extract_blocks)
    names.move_layer("cr", "aggregate")
    for index, (offset, convolution) in enumerate(_AUTHORS):
        names.move(f"{convolution}.weight", f"align.{index}.weight")
        names.move_layer(offset, f"align.{index}.conv_offset")
    names.move_layer("recon_lr", "to_rgb")
    names.move_layer("fea_ex.0", "fuse")
    _blocks(names, "recon_layer", "reconstruct", settings.reconstruct_blocks)
    names.move_layer("up.0.0", "enlarge1")
    names.move_layer("up.0.2", "enlarge2")
    names.move("up.1.weight", "conv_last.weight")
    return names


def _mmagic(names: Renaming, settings: "TDANSettings") -> Renaming:
    names.drop("step_counter")
    names.move_layer("feat_extract.0.conv", "conv_first")
    _blocks(names, "feat_extract.1", "extract", settings.extract_blocks)
    names.move_layer("feat_aggregate.0", "aggregate")
    for index, theirs in enumerate(_MMAGIC):
        names.move(f"{theirs}.weight", f"align.{index}.weight")
        names.move_layer(f"{theirs}.conv_offset", f"align.{index}.conv_offset")
    names.move_layer("to_rgb", "to_rgb")
    names.move_layer("reconstruct.0.conv", "fuse")
    _blocks(names, "reconstruct.1", "reconstruct", settings.reconstruct_blocks)
    names.move_layer("reconstruct.2.upsample_conv", "enlarge1")
    names.move_layer("reconstruct.3.upsample_conv", "enlarge2")
    names.move("reconstruct.4.weight", "conv_last.weight")
    return names
