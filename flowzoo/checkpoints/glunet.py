"""Published GLU-Nets -> flowzoo's names: files of GLU-Net, GOCor and DenseMatching, and VGG-16 to train from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints.keymap import unknown_names
from flowzoo.checkpoints.matching import complete, move_common, move_context, move_decoder, published
from flowzoo.errors import InputError

if TYPE_CHECKING:
    from flowzoo.zoo.glunet import GLUNetSettings


def convert(state: Mapping[str, Tensor], settings: "GLUNetSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    A VGG-16 of ImageNet fills the backbone; all else then has a random start, drawn from a fixed seed.

    Raises:
        InputError: its names are unknown, or do not match these settings.
    """
    whole = complete(state, "flowzoo.models.glunet:GLUNet", settings)
    if whole is not None:
        return whole
    names = published(state, "GLU-Net")
    if not names.has("decoder1.predict_flow.weight"):
        raise unknown_names(state, "GLU-Net's, GOCor's or DenseMatching's GLU-Nets, nor VGG-16's")
    refuse_other_matching(state, settings)
    move_common(names, settings)
    names.move_layer("deconv4", "enlarge_mapping")
    for level in (3, 2, 1):
        move_decoder(names, f"decoder{level}", f"decoder{level}")
    move_context(names, "dc_conv", "context3")
    names.move_layer("deconv2", "enlarge_flow")
    names.move_layer("upfeat2", "enlarge_features")
    move_context(names, "l_dc_conv", "context1")
    return names.finish()


def refuse_other_matching(state: Mapping[str, Tensor], settings: "GLUNetSettings") -> None:
    """Say which network a file belongs to where it is another one of the family.

    Raises:
        InputError: it is.
    """
    kinds = {"NeighConsensus.": "semantic-glunet", "corr.corr_module.": "glunet-gocor"}
    found = next((name for part, name in kinds.items() if any(part in key for key in state)), "glunet")
    wanted = {"consensus": "semantic-glunet", "gocor": "glunet-gocor"}.get(settings.global_matching, "glunet")
    if found != wanted:
        raise InputError(f"this is a checkpoint of {found}, not of {wanted}: use --model {found}")
