"""FLAVR's published names (UNet_3D_3D, unet_18) -> ours."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming, unknown_names

if TYPE_CHECKING:
    from flowzoo.zoo.flavr import FlavrSettings


def convert(state: Mapping[str, Tensor], settings: "FlavrSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or do not match these settings.
    """
    if "encoder.stem.weight" in state:
        return dict(state)
    if "encoder.stem.0.weight" not in state:
        raise unknown_names(state, "FLAVR's (encoder.stem.0.weight, ...)")
    names = Renaming(state, "FLAVR's")
    biased = settings.outputs > 1
    _convolution(names, "encoder.stem.0", "encoder.stem", biased)
    for stage in range(4):
        for block in range(2):
            theirs, ours = f"encoder.layer{stage + 1}.{block}", f"encoder.stages.{stage}.{block}"
            _convolution(names, f"{theirs}.conv1.0", f"{ours}.first", biased)
            _convolution(names, f"{theirs}.conv2.0", f"{ours}.second", biased)
            names.move_layer(f"{theirs}.fg.attn_layer.0", f"{ours}.gate.weigh")
            if stage > 0 and block == 0:
                _convolution(names, f"{theirs}.downsample.0", f"{ours}.shortcut", biased=False)
    for index in range(5):
        kind = "upconv" if index in (1, 2, 4) else "conv"
        names.move_layer(f"decoder.{index}.{kind}.0", f"decoder.{index}.layer")
        names.move_layer(f"decoder.{index}.{kind}.1.attn_layer.0", f"decoder.{index}.gate.weigh")
    _convolution(names, "feature_fuse.conv.0", "fuse", biased=False)
    names.move_layer("outconv.1", "colours")
    return names.finish()


def _convolution(names: Renaming, theirs: str, ours: str, biased: bool) -> None:
    """A convolution whose bias depends on the number of outputs."""
    names.move(f"{theirs}.weight", f"{ours}.weight")
    if biased:
        names.move(f"{theirs}.bias", f"{ours}.bias")
