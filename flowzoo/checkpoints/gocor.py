"""Published names of GOCor's modules -> ours, and the values a module starts from."""

from typing import Literal

import torch
from torch import Tensor

from flowzoo.checkpoints.keymap import Renaming

_OPTIMISER = (
    ("log_step_length", "log_step_length"),
    ("filter_reg", "regularisation"),
    ("label_map_predictor.weight", "profiles.target"),
    ("spatial_weight_predictor.weight", "profiles.weight"),
    ("target_mask_predictor.0.weight", "profiles.mask_logits"),
)
_QUERY = (("reg_layer.weight1", "query_regulariser.last"), ("reg_layer.weight2", "query_regulariser.first"))


def move_gocor(
    names: Renaming, theirs: str, ours: str, initialiser: Literal["simple", "flexible-context"], *, query_loss: bool
) -> None:
    """One module's tensors.

    Args:
        theirs, ours: prefixes on both sides, without the dot behind them.
        initialiser: which one the module has (the published local and global ones).
        query_loss: whether the module has the term on the query image.
    """
    if initialiser == "simple":
        names.move(f"{theirs}.filter_initializer.scaling", f"{ours}.initialiser.scaling")
    else:
        names.move(f"{theirs}.filter_initializer.target_fg", f"{ours}.initialiser.at_match")
        names.move(f"{theirs}.filter_initializer.target_bg", f"{ours}.initialiser.at_mean")
    for published, own in _OPTIMISER:
        names.move(f"{theirs}.filter_optimizer.{published}", f"{ours}.optimiser.{own}", torch.flatten)
    for published, own in _QUERY if query_loss else ():
        names.move(f"{theirs}.filter_optimizer.{published}", f"{ours}.optimiser.{own}")


def starting_values(ours: str) -> dict[str, Tensor]:
    """What a published local module is before training, under the prefix `ours`."""
    from flowzoo.blocks.gocor import LocalGOCor

    return {f"{ours}.{name}": values.clone() for name, values in LocalGOCor().state_dict().items()}
